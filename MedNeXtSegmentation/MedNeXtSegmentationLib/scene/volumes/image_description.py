"""The description of a volume: its name, its DICOM attributes, its place in the subject hierarchy."""

from __future__ import annotations

import contextlib

import slicer
from mednext.images.description.image_description import ImageDescription

from ..subject_hierarchy import ancestor_of, attribute_of
from .parent_transform import deformation_of

MODALITY = "0008,0060"
IMAGE_TYPE = "0008,0008"
SERIES_DESCRIPTION = "0008,103e"
PROTOCOL_NAME = "0018,1030"
CONTRAST_AGENT = "0018,0010"
SCANNING_SEQUENCE = "0018,0020"
REPETITION_TIME = "0018,0080"
ECHO_TIME = "0018,0081"
INVERSION_TIME = "0018,0082"
FRAME_OF_REFERENCE = "0020,0052"


def describe(volume: slicer.vtkMRMLVolumeNode) -> ImageDescription:
    """The description of a volume; a node that was not loaded from DICOM has little but its name."""
    header = _Header((volume.GetAttribute("DICOM.instanceUIDs") or "").split())
    storage = volume.GetStorageNode()
    return ImageDescription(
        name=volume.GetName() or "",
        modality=header.text(MODALITY) or attribute_of(volume, "DICOM.Modality"),
        series=header.text(SERIES_DESCRIPTION) or attribute_of(volume, "DICOM.SeriesDescription"),
        protocol=header.text(PROTOCOL_NAME),
        agent=header.text(CONTRAST_AGENT),
        scanning_sequence=header.text(SCANNING_SEQUENCE),
        repetition_ms=header.number(REPETITION_TIME),
        echo_ms=header.number(ECHO_TIME),
        inversion_ms=header.number(INVERSION_TIME),
        study=ancestor_of(volume, "Study"),
        patient=ancestor_of(volume, "Patient"),
        image_type=header.text(IMAGE_TYPE),
        frame=header.text(FRAME_OF_REFERENCE),
        path=(storage.GetFileName() or "") if storage else "",
        deformation=deformation_of(volume),
    )


class _Header:
    """Tags of a volume's first slice in Slicer's DICOM database; empty ones if it is not there."""

    def __init__(self, instances: list[str]) -> None:
        self._instance = instances[0] if instances else ""
        self._database = getattr(slicer, "dicomDatabase", None)

    def text(self, tag: str) -> str:
        if not self._instance or self._database is None or not self._database.isOpen:
            return ""
        return str(self._database.instanceValue(self._instance, tag) or "").strip()

    def number(self, tag: str) -> float | None:
        with contextlib.suppress(ValueError):
            return float(self.text(tag).split("\\")[0])
        return None
