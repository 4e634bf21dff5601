"""Targets: DICOM slices of several transfer syntaxes, headers by hand, pixels by GDCM."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from fixtures.images.dicom_files import write_series
from mednext.images.dicom.header import read_header
from mednext.images.dicom.slice import slice_of, voxels_of
from mednext.images.geometry import Geometry
from mednext.images.volume import read_volume
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from .targets import Target

GRID = Geometry((30, 20, 1), (0.8, 0.7, 2.5))
sitk.ProcessObject.SetGlobalWarningDisplay(False)


def _seeds(folder: Path) -> list[Path]:
    write_series(folder, np.arange(600).reshape(1, 20, 30), GRID)
    (plain,) = folder.iterdir()
    seeds = [plain]
    for name, syntax in (
        ("implicit", ImplicitVRLittleEndian),
        ("deflated", DeflatedExplicitVRLittleEndian),
        ("run lengths", RLELossless),
    ):
        dataset = pydicom.dcmread(plain)
        if syntax == RLELossless:
            dataset.compress(syntax, encoding_plugin="pydicom")
        bare = pydicom.Dataset(dataset)
        bare.file_meta = dataset.file_meta
        bare.file_meta.TransferSyntaxUID = syntax
        bare.SourceImageSequence = [pydicom.Dataset(), pydicom.Dataset()]
        bare["SourceImageSequence"].is_undefined_length = True
        bare.PhotometricInterpretation = "MONOCHROME1" if name == "implicit" else "MONOCHROME2"
        seeds.append(folder / name)
        pydicom.dcmwrite(seeds[-1], bare, enforce_file_format=True)
    return seeds


def _read(path: Path) -> object:
    """Read one slice, with or without a place."""
    header = read_header(path)
    return voxels_of(slice_of(header)) if header else read_volume(path)


TARGETS = (Target("DICOM", _seeds, _read),)
