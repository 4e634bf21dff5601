"""The description of an image: its name, its DICOM attributes, the folders it lies in; the kind they tell."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from .image_kind import (
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
    WEIGHTED,
    kind_of_text,
    mentions_contrast,
    weighting,
)
from .patient_names import patient_in, session_in

LOCALIZER = "LOCALIZER"  # of DICOM's ImageType

_NO_AGENT = ("", "no", "none", "n", "nein", "ohne", "without", "0")


@dataclass(frozen=True)
class ImageDescription:
    """Everything known about one image; "" and None stand for the unknown.

    Attributes:
        name: of the file, the folder or the node; Slicer names a volume from DICOM after its series.
        modality: DICOM's: "CT", "MR", "PT" ...
        series, protocol: DICOM's SeriesDescription and ProtocolName.
        agent: DICOM's ContrastBolusAgent.
        scanning_sequence: DICOM's: "SE", "GR", "IR", "EP" ...
        repetition_ms, echo_ms, inversion_ms: DICOM's RepetitionTime, EchoTime and InversionTime.
        study, patient: DICOM's StudyInstanceUID and PatientID, or Slicer's items of the subject hierarchy.
        image_type: DICOM's ImageType, its values joined by backslashes.
        frame: DICOM's FrameOfReferenceUID.
        path: the absolute path that it was read from.
        deformation: the effect of transforms in Slicer's scene, see `deformation_of`.
        file: the operating system's identity of the file, see `file_identity`.
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
    image_type: str = ""
    frame: str = ""
    path: str = ""
    file: str = ""
    deformation: tuple[str, bool] = field(default=("", False), compare=False)  # the same image without it

    @property
    def is_localizer(self) -> bool:
        """True if its ImageType is that of a scout for planning other images."""
        return LOCALIZER in self.image_type.upper().split("\\")

    @property
    def patient_in_name(self) -> str:
        """The patient that the name or a folder names; see `patient_in`."""
        return patient_in(self.name) or patient_in(self.path)

    @property
    def session_in_name(self) -> str:
        """The examination that the name or a folder names; see `session_in`."""
        return session_in(self.name) or session_in(self.path)

    @property
    def kind(self) -> str:
        """One of the kinds of `image_kind`; `UNCLEAR` where two sources contradict each other."""
        said = self._said()
        if "ADC" in self.image_type.upper().split("\\"):
            return OTHER
        if self.modality in ("CT", "PT"):
            return CT if self.modality == "CT" else PET
        if self.modality and said in (CT, PET):
            said = UNKNOWN  # an MR "for PET" is no PET
        measured = self._measured()
        if said == UNKNOWN:
            said = measured
        elif said == T2 and measured == FLAIR:
            return FLAIR  # "t2_tirm_tra": only the inversion time tells
        elif measured and weighting(measured) != weighting(said) and said in WEIGHTED:
            return said if (said, measured) == (FLAIR, T2) else UNCLEAR
        if said == T1 and self.contrast_hinted:
            return UNCLEAR
        return said

    @property
    def contrast_hinted(self) -> bool:
        """True if header or protocol mention contrast agent, which some sites write there for all series."""
        return self.agent.strip().casefold() not in _NO_AGENT or mentions_contrast(self.protocol)

    @property
    def plain_t1(self) -> bool:
        """True for a T1 whose name does not mention contrast agent, whatever the header hints at."""
        return self.modality in ("", "MR") and (self._said() or self._measured()) == T1

    def _said(self) -> str:
        kinds = {kind_of_text(text) for text in (self.name, self.series)} - {UNKNOWN}
        if T1 in kinds and kinds & {T1_NATIVE, T1_CONTRAST}:
            kinds.discard(T1)  # the other text says more
        if len(kinds) == 1:
            return kinds.pop()
        return UNCLEAR if kinds else kind_of_text(self.protocol)

    def _measured(self) -> str:
        """The weighting by the times of the pulse sequence, if they leave no doubt."""
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


def file_identity(path: Path) -> str:
    """An identity that all paths of one file share, links among them; "" if the system gives none."""
    try:
        facts = path.stat()
    except OSError:
        return ""
    return f"{facts.st_dev}:{facts.st_ino}" if facts.st_ino else ""
