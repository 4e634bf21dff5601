"""Targets: NIfTI, NRRD and MetaImage files, with their voxels inside and beside them."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from mednext.images.formats.image_files import read_header
from mednext.images.formats.stored_voxels import read_voxels
from mednext.images.geometry import Geometry
from mednext.images.volume import read_volume, write_image

from .mutation import mutated
from .targets import Target

GRID = Geometry((7, 6, 5), (1, 1.5, 2), (3, -4, 5))


def _read(path: Path) -> object:
    """Read an image, first without the boundary that turns every exception into a sentence."""
    read_voxels(read_header(path).voxels)
    return read_volume(path)


def _voxels(kind: str) -> np.ndarray:
    return np.random.default_rng(0).normal(500, 90, GRID.shape).astype(kind)


def _written(folder: Path, suffix: str) -> list[Path]:
    paths = [folder / f"{kind}{suffix}" for kind in ("int16", "float32")]
    for path in paths:
        write_image(path, _voxels(path.name.removesuffix(suffix)), GRID)
    return paths


def _nifti(folder: Path) -> list[Path]:
    return [*_written(folder, ".nii"), *_written(folder, ".nii.gz")]


def _packed_header(content: bytes, chance: random.Random) -> bytes:
    """Mutate the unpacked file, since gzip's checksum would reveal every mutation."""
    return gzip.compress(mutated(gzip.decompress(content), chance), 1)


def _detached(folder: Path, suffix: str) -> list[Path]:
    """Headers beside their voxels, packed or not; only the headers are mutated."""
    image = sitk.GetImageFromArray(_voxels("int16"))
    image.SetSpacing(GRID.spacing)
    paths = [folder / f"plain{suffix}", folder / f"packed{suffix}"]
    for path in paths:
        sitk.WriteImage(image, str(path), path.name.startswith("packed"))
    return paths


def _listed(folder: Path, suffix: str, old: str, names: str) -> Path:
    """A header with a file for each slice."""
    path, voxels = folder / f"listed{suffix}", _voxels("int16")
    header = (folder / f"plain{suffix}").read_text()
    path.write_text(header.replace(old, names))
    for number, plane in enumerate(voxels):
        (folder / f"slice{number}.raw").write_bytes(plane.tobytes())
    return path


def _nrrd(folder: Path) -> list[Path]:
    paths = [*_written(folder, ".nrrd"), *_detached(folder, ".nhdr")]
    return [*paths, _listed(folder, ".nhdr", "data file: plain.raw", "data file: slice%d.raw 0 4 1")]


def _metaimage(folder: Path) -> list[Path]:
    paths = [*_written(folder, ".mha"), *_detached(folder, ".mhd")]
    files = "\n".join(["LIST", *(f"slice{number}.raw" for number in range(len(_voxels("int16"))))])
    return [*paths, _listed(folder, ".mhd", "plain.raw", files)]


TARGETS = (
    Target("NIfTI", _nifti, _read),
    Target("packed NIfTI", lambda folder: _written(folder, ".nii.gz"), _read, _packed_header),
    Target("NRRD", _nrrd, _read),
    Target("MetaImage", _metaimage, _read),
)
