"""Make the template that heads are registered with: ICBM152 at 2 mm, from the 1 mm file of nilearn."""

from __future__ import annotations

from pathlib import Path

import nilearn
import SimpleITK as sitk

SOURCE = Path(nilearn.__file__).parent / "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
TARGET = Path(__file__).parents[1] / "MedNeXtSegmentation/Resources/Templates/icbm152.nii.gz"


def main() -> None:
    """Average blocks of two voxels along each axis, and write them as bytes."""
    fine = sitk.ReadImage(str(SOURCE), sitk.sitkFloat32)
    coarse = sitk.Cast(sitk.BinShrink(fine, [2, 2, 2]) + 0.5, sitk.sitkUInt8)
    sitk.WriteImage(coarse, str(TARGET), useCompression=True, compressionLevel=9)
    print(f"{TARGET}: {TARGET.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
