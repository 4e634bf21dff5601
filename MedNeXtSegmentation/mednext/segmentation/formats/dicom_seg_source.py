"""Prepare the headers of a DICOM series for a DICOM Segmentation: check them, and fill in empty elements."""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ...errors import OutputError
from ...images.dicom.series import Series
from ...images.dicom.slice import Slice

if TYPE_CHECKING:
    import pydicom

# Without these the segments cannot be assigned to a patient and images.
_NEEDED = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID")
# The standard requires these elements, but allows them to be empty ("type 2").
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
_OLD_SIGNS = {"DA": ".", "TM": ":"}  # 2026.01.31 and 12:30:00
_STRICT_VRS = ("AS", "DA", "DS", "DT", "IS", "TM")  # pydicom refuses to write wrong values of these

_log = logging.getLogger(__name__)


def source_images(series: Series, source: object) -> list[pydicom.Dataset]:
    """The headers of the slices, in their order, as highdicom takes them; `source` names them in messages.

    Invalid dates, times and numbers become empty where the standard allows that, as does a sex other than M,
    F or O. All other data of the patient stay. Call this within `quietly`.

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
    wrong: dict[str, None] = {}
    for piece in series.slices:
        image = pydicom.dcmread(piece.file, stop_before_pixels=True, force=True)
        image.decode()  # the patient's name is to be written in another character set
        wrong |= dict.fromkeys(_make_lawful(image))
        _place(image, piece, series.geometry.spacing[2])
        images.append(image)
    if wrong:
        _log.info(
            "The values of %s in %s are none that DICOM allows, and are left out.", ", ".join(wrong), source
        )
    return images


@contextmanager
def quietly() -> Iterator[None]:
    """Silence pydicom and highdicom: their warnings quote the patient's name."""
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


def _place(image: pydicom.Dataset, piece: Slice, gap: float) -> None:
    """Set the position of the slice as it was read, in numbers of the length that DICOM allows."""
    from pydicom.valuerep import format_number_as_ds as text

    across, down = piece.spacing
    row, column, _ = piece.direction.T.tolist()
    image.ImagePositionPatient = [text(number) for number in piece.position.tolist()]
    image.ImageOrientationPatient = [text(number) for number in (*row, *column)]
    image.PixelSpacing = [text(down), text(across)]
    image.SpacingBetweenSlices = text(gap)
    if not image.get("SliceThickness"):
        image.SliceThickness = text(gap)


def _make_lawful(image: pydicom.Dataset) -> list[str]:
    """Remove invalid values, add missing elements that may be empty, and modernise old dates and times.

    Returns the keywords of the removed values.
    """
    import pydicom
    from pydicom.config import RAISE
    from pydicom.valuerep import validate_value

    wrong = []
    for tag in list(image.keys()):
        try:
            element = image[tag]
            if element.VR in _OLD_SIGNS and isinstance(element.value, str):
                element.value = element.value.replace(_OLD_SIGNS[element.VR], "")
            values = element.value if element.VM > 1 else [element.value]
            if element.VR in _STRICT_VRS:
                for value in values:
                    validate_value(element.VR, str(value or ""), RAISE)
        except Exception:  # noqa: BLE001  # boundary: a foreign file may hold anything
            wrong.append(pydicom.datadict.keyword_for_tag(tag) or str(tag))
            del image[tag]
    for name in _MAY_BE_EMPTY:
        if name not in image or image[name].value is None:
            setattr(image, name, "")
    sex = str(image.PatientSex).strip().upper()
    if sex and sex not in _SEXES:
        wrong.append("PatientSex")
        sex = ""
    image.PatientSex = sex
    return wrong
