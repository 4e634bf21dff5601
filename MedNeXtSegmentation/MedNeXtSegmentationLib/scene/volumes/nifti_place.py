"""A warning where Slicer took one of two different places from the NIfTI file of a volume.

Slicer reads NIfTI with ITK, which uses the sform only where its code is that of scanner coordinates. A
registration that another program wrote there may be missing in the scene.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import slicer
from mednext.errors import MedNeXtError
from mednext.images.formats.nifti_header import SUFFIXES, nifti_forms
from mednext.images.formats.nifti_place import followed_form
from mednext.images.geometry import Geometry

from ..matrices import ijk_to_ras_of


def nifti_place_warning(node: slicer.vtkMRMLScalarVolumeNode) -> str:
    """A sentence if qform and sform of the volume's file disagree, else ""."""
    storage = node.GetStorageNode()
    name = storage.GetFullNameFromFileName() if storage and storage.GetFileName() else ""
    if not name.lower().endswith(SUFFIXES):
        return ""
    try:
        geometry = Geometry.from_ijk_to_ras(ijk_to_ras_of(node), node.GetImageData().GetDimensions())
        with np.errstate(invalid="ignore"):
            said = followed_form(nifti_forms(Path(name)), geometry)
    except (MedNeXtError, OSError):  # the file was removed or replaced
        return ""
    return f'"{node.GetName()}": {said}' if said else ""
