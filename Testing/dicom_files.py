"""Synthetic DICOM series on disk, as scanners write them: one file per slice, named without an order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pydicom
from mednext.geometry import Geometry
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

INTERCEPT_HU = -1024


def write_series(
    folder: Path,
    array: np.ndarray,
    geometry: Geometry,
    *,
    descending: bool = False,
    skip: Iterable[int] = (),
    shift_per_slice: tuple[float, float, float] = (0, 0, 0),
    decimals: int = 6,
    slopes: Sequence[float] | None = None,
    description: str = "Abdomen 3 mm",
    study_uid: str | None = None,
) -> str:
    """Write `array` `(Z, Y, X)` in HU as a CT series and return its SeriesInstanceUID.

    `descending` numbers the slices against the axis k; `skip` leaves slices out; `shift_per_slice` in mm LPS
    moves every slice a little further, like a tilted gantry; `decimals` are written of a position in mm;
    `slopes` are the rescale slopes of the slices, 1 if None; `study_uid` is that of a new study if None.
    """
    folder.mkdir(parents=True, exist_ok=True)
    common = {
        name: generate_uid() for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
    }
    if study_uid:
        common["StudyInstanceUID"] = study_uid
    count = len(array)
    for k in range(count):
        if k in skip:
            continue
        number = count - k if descending else k + 1
        position = (geometry.affine @ (0, 0, k, 1))[:3] + k * np.array(shift_per_slice)
        position = position.round(decimals)
        dataset = _slice(array[k], geometry, position, slopes[k] if slopes else 1)
        dataset.update(common)
        dataset.SeriesDescription = description
        dataset.InstanceNumber = number
        dataset.save_as(
            folder / f"IM{(number * 7919) % 10007:05d}_{common['SeriesInstanceUID'][-12:]}",
            enforce_file_format=True,
        )
    return common["SeriesInstanceUID"]


def _slice(plane: np.ndarray, geometry: Geometry, position: np.ndarray, slope: float) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.Modality = "CT"
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.PatientName, dataset.PatientID = "Müller^Jürgen", "T1"
    dataset.PatientBirthDate, dataset.PatientSex, dataset.AccessionNumber = "", "", ""
    dataset.StudyID, dataset.StudyDate, dataset.StudyTime, dataset.ReferringPhysicianName = (
        "1",
        "20260101",
        "120000",
        "",
    )
    dataset.SeriesNumber, dataset.Manufacturer = 2, "Test"
    direction = np.reshape(geometry.direction, (3, 3))
    dataset.ImagePositionPatient = [f"{x:.8g}" for x in position]
    dataset.ImageOrientationPatient = [f"{x:.10f}" for x in (*direction[:, 0], *direction[:, 1])]
    dataset.PixelSpacing = [f"{geometry.spacing[1]:.8g}", f"{geometry.spacing[0]:.8g}"]
    dataset.SliceThickness = f"{geometry.spacing[2]:.8g}"
    dataset.Rows, dataset.Columns = plane.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = str(INTERCEPT_HU), str(slope), "HU"
    dataset.PixelData = ((plane - INTERCEPT_HU) / slope).round().astype(np.uint16).tobytes()
    return dataset


def change(folder: Path, how: Callable[[FileDataset, int], object]) -> None:
    """Let `how` change each file of a folder; it gets the data set and its number along the stack, from 0."""
    files = sorted(folder.iterdir(), key=lambda file: pydicom.dcmread(file).InstanceNumber)
    for number, file in enumerate(files):
        dataset = pydicom.dcmread(file)
        how(dataset, number)
        dataset.save_as(file)
