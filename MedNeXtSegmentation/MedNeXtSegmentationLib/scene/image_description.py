"""What a volume is known to be: by its name, its DICOM attributes, its place in the subject hierarchy."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import slicer
from mednext.image_kind import (
    CT,
    FLAIR,
    OTHER,
    PET,
    T1,
    T1_CONTRAST,
    T1_NATIVE,
    T2,
    UNCLEAR,
    UNKNOWN,
    kind_of_text,
    mentions_contrast,
)

MODALITY = "0008,0060"
SERIES_DESCRIPTION = "0008,103e"
PROTOCOL_NAME = "0018,1030"
CONTRAST_AGENT = "0018,0010"
SCANNING_SEQUENCE = "0018,0020"
REPETITION_TIME = "0018,0080"
ECHO_TIME = "0018,0081"
INVERSION_TIME = "0018,0082"

_NO_AGENT = ("", "no", "none", "n", "nein", "ohne", "without", "0")


@dataclass(frozen=True)
class ImageDescription:
    """What is known about one volume; "" and None stand for what is not.

    Attributes:
        name: of the node; Slicer names a volume from DICOM after its series.
        modality: DICOM's: "CT", "MR", "PT" ...
        series, protocol: DICOM's SeriesDescription and ProtocolName.
        agent: DICOM's ContrastBolusAgent.
        scanning_sequence: DICOM's: "SE", "GR", "IR", "EP" ...
        repetition_ms, echo_ms, inversion_ms: DICOM's RepetitionTime, EchoTime and InversionTime.
        study, patient: who and when, as the subject hierarchy knows it.
    """

    name: str
    modality: str = ""
    series: str = ""
    protocol: str = ""
    agent: str = ""
    scanning_sequence: str = ""
    repetition_ms: float | None = None
    echo_ms: float | None = None
    inversion_ms: float | None = None
    study: str = ""
    patient: str = ""

    @property
    def kind(self) -> str:
        """One of the kinds of `image_kind`; `UNCLEAR` where two sources contradict each other."""
        said = self._said()
        if self.modality in ("CT", "PT"):
            return CT if self.modality == "CT" else PET
        if self.modality and said in (CT, PET):
            said = UNKNOWN  # an MR "for PET" is no PET
        measured = self._measured()
        if said == UNKNOWN:
            said = measured
        elif said == T2 and measured == FLAIR:
            return FLAIR  # "t2_tirm_tra": only the inversion time tells
        elif measured and _weighting(measured) != _weighting(said) and said in _WEIGHTED:
            return said if (said, measured) == (FLAIR, T2) else UNCLEAR
        if said == T1 and self.contrast_hinted:
            return UNCLEAR
        return said

    @property
    def contrast_hinted(self) -> bool:
        """Contrast agent is in the header or the protocol, where some sites put it for all series alike."""
        return self.agent.strip().casefold() not in _NO_AGENT or mentions_contrast(self.protocol)

    @property
    def plain_t1(self) -> bool:
        """A T1 whose name says nothing about contrast agent, whatever the header hints at."""
        return self.modality in ("", "MR") and (self._said() or self._measured()) == T1

    def _said(self) -> str:
        kinds = {kind_of_text(text) for text in (self.name, self.series)} - {UNKNOWN}
        if T1 in kinds and kinds & {T1_NATIVE, T1_CONTRAST}:
            kinds.discard(T1)  # the other text says more
        if len(kinds) == 1:
            return kinds.pop()
        return UNCLEAR if kinds else kind_of_text(self.protocol)

    def _measured(self) -> str:
        """The weighting that the times of the pulse sequence give, where that is beyond doubt."""
        if "EP" in self.scanning_sequence:
            return OTHER
        echo, repetition, inversion = self.echo_ms, self.repetition_ms, self.inversion_ms or 0.0
        if echo is None or repetition is None:
            return UNKNOWN
        if echo >= 70 and repetition >= 2000:
            return FLAIR if 1500 <= inversion <= 3500 else T2 if inversion == 0 else UNKNOWN
        spin_echo = "SE" in self.scanning_sequence and "GR" not in self.scanning_sequence
        if spin_echo and echo <= 25 and 250 <= repetition <= 900 and inversion == 0:
            return T1
        if "GR" in self.scanning_sequence and echo <= 6 and 600 <= inversion <= 1300 and repetition >= 1400:
            return T1  # MPRAGE
        return UNKNOWN


_WEIGHTED = (T1, T1_NATIVE, T1_CONTRAST, T2, FLAIR)


def _weighting(kind: str) -> str:
    return T1 if kind in (T1_NATIVE, T1_CONTRAST) else kind


def describe(volume: slicer.vtkMRMLVolumeNode) -> ImageDescription:
    """What is known about a volume; a node that was not loaded from DICOM has little but its name."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(volume.GetScene())
    item = hierarchy.GetItemByDataNode(volume) if hierarchy else 0
    header = _Header((volume.GetAttribute("DICOM.instanceUIDs") or "").split())
    return ImageDescription(
        name=volume.GetName() or "",
        modality=header.text(MODALITY) or _attribute(volume, item, "DICOM.Modality"),
        series=header.text(SERIES_DESCRIPTION) or _attribute(volume, item, "DICOM.SeriesDescription"),
        protocol=header.text(PROTOCOL_NAME),
        agent=header.text(CONTRAST_AGENT),
        scanning_sequence=header.text(SCANNING_SEQUENCE),
        repetition_ms=header.number(REPETITION_TIME),
        echo_ms=header.number(ECHO_TIME),
        inversion_ms=header.number(INVERSION_TIME),
        study=_ancestor(hierarchy, item, "Study"),
        patient=_ancestor(hierarchy, item, "Patient"),
    )


class _Header:
    """Tags of a volume's first slice, while Slicer's DICOM database has it."""

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


def _attribute(volume: slicer.vtkMRMLVolumeNode, item: int, name: str) -> str:
    """An attribute of the node, or of its item in the subject hierarchy."""
    if volume.GetAttribute(name):
        return volume.GetAttribute(name)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(volume.GetScene())
    return hierarchy.GetItemAttribute(item, name) if item else ""


def _ancestor(hierarchy: slicer.vtkMRMLSubjectHierarchyNode, item: int, level: str) -> str:
    """The study or patient that an item belongs to: its DICOM UID, or its number; "" if there is none."""
    ancestor = hierarchy.GetItemAncestorAtLevel(item, level) if item else 0
    if not ancestor:
        return ""
    return hierarchy.GetItemUID(ancestor, "DICOM") or f"item {ancestor}"
