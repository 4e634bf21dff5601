"""What a DICOM Segmentation repeats of its series: checked, and filled in where it may be empty."""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..errors import OutputError
from .dicom_series import Series

if TYPE_CHECKING:
    import pydicom

# Without these nothing says to which patient and images the segments belong.
_NEEDED = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID")
# The standard wants these to be there, if only empty ("type 2").
_MAY_BE_EMPTY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
_SEXES = ("M", "F", "O")
_STRICT_VRS = ("AS", "DA", "DS", "DT", "IS", "TM")  # a wrong value of these is refused in writing


def source_images(series: Series, source: object) -> list[pydicom.Dataset]:
    """The headers of the slices, in their order, as highdicom takes them; `source` names them in messages.

    Dates, times and numbers that are none become empty, as does a sex other than M, F or O, where the
    standard allows that. Nothing of the patient is changed otherwise. Call this within `quietly`.

    Raises `OutputError` where the series lacks the UIDs that a DICOM SEG refers to.
    """
    import pydicom

    for name in _NEEDED:
        if not all(piece.header.get(name) for piece in series.slices):
            raise OutputError(
                f"{source} has slices without {name}, which a DICOM SEG refers to: write .seg.nrrd instead."
            )
    repeated = Counter(piece.header.get("SOPInstanceUID") for piece in series.slices)
    if max(repeated.values()) > 1:
        raise OutputError(
            f"{max(repeated.values())} slices of {source} have the same SOPInstanceUID, so that a DICOM SEG "
            "cannot say which segment belongs to which slice: write .seg.nrrd instead."
        )
    images: list[pydicom.Dataset] = []
    for piece in series.slices:
        image = pydicom.dcmread(piece.file, stop_before_pixels=True, force=True)
        image.decode()  # the patient's name leaves the source's character set
        _make_lawful(image)
        row, column, _ = piece.direction.T
        image.ImageOrientationPatient = [f"{cosine:.10f}" for cosine in (*row, *column)]
        image.SpacingBetweenSlices = f"{series.geometry.spacing[2]:.10g}"
        if not image.get("SliceThickness"):
            image.SliceThickness = image.SpacingBetweenSlices
        images.append(image)
    return images


@contextmanager
def quietly() -> Iterator[None]:
    """Let pydicom and highdicom warn nobody: their warnings quote the patient's name."""
    loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _make_lawful(image: pydicom.Dataset) -> None:
    """Empty what is wrong, and add what may be empty."""
    from pydicom.config import RAISE
    from pydicom.valuerep import validate_value

    for tag in list(image.keys()):
        try:
            element = image[tag]
            values = element.value if element.VM > 1 else [element.value]
            if element.VR in _STRICT_VRS:
                for value in values:
                    validate_value(element.VR, str(value or ""), RAISE)
        except Exception:  # noqa: BLE001 - boundary: in a foreign file any value may be anything
            del image[tag]
    for name in _MAY_BE_EMPTY:
        if name not in image or image[name].value is None:
            setattr(image, name, "")
    sex = str(image.PatientSex).strip().upper()
    image.PatientSex = sex if sex in _SEXES else ""
