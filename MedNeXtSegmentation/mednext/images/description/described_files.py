"""Describe an image file, or the DICOM series in a folder: everything known but its voxels."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

from ..dicom.header import read_header
from .image_description import ImageDescription, file_identity


def describe_file(path: Path, dicom: Path | None = None) -> ImageDescription:
    """Describe the image at `path`, as `read_volume` takes it; `dicom` is one of the slices of a series."""
    known = ImageDescription(
        (dicom.absolute().parent if dicom else path).name,
        path=str(path.absolute()),
        file=file_identity(dicom or path),
    )
    header = read_header(dicom) if dicom else None
    if header is None:
        return known
    return replace(
        known,
        modality=header.get("Modality"),
        series=header.get("SeriesDescription"),
        protocol=header.get("ProtocolName"),
        agent=header.get("ContrastBolusAgent"),
        scanning_sequence=header.get("ScanningSequence"),
        repetition_ms=_number(header.get("RepetitionTime")),
        echo_ms=_number(header.get("EchoTime")),
        inversion_ms=_number(header.get("InversionTime")),
        study=header.get("StudyInstanceUID"),
        patient=header.get("PatientID"),
        image_type=header.get("ImageType"),
        frame=header.get("FrameOfReferenceUID"),
    )


def _number(text: str) -> float | None:
    with contextlib.suppress(ValueError):
        return float(text.split("\\", maxsplit=1)[0])
    return None
