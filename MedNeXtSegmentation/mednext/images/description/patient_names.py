"""The patient, and the examination, that the names of files and folders speak of."""

from __future__ import annotations

import re

_EDGE = r"(?:^|(?<=[\\/_.\s-]))"  # where a word begins in a path
# Each has the patient in its first group and, where the data set has several of a patient, the examination in
# the second one.
_PATTERNS = tuple(
    re.compile(_EDGE + pattern + r"(?![0-9A-Za-z])", re.IGNORECASE)
    for pattern in (
        r"(sub-[0-9A-Za-z]+)",  # BIDS
        r"(BraTS-[A-Z]+-\d{4,6})-(\d{3})",  # since 2023
        r"(BraTS20\d\d_\d+)",
        r"(BraTS20_[A-Z]+_\d+)",
        r"(BraTS1[5-9]_[0-9A-Z]+_[0-9A-Z]+)_(\d+)",
        r"(BraTS_2013_pat\d+)_(\d+)",
        r"(TCGA-[0-9A-Z]{2}-[0-9A-Z]{4})",
        r"(UPENN-GBM-\d+)_(\d+)",
        r"(UCSF-PDGM-\d+)",
        r"(IXI\d{3})",
        r"(OAS\d_\d{4})(?:_MR(\d+))?",
        r"(\d{3}_S_\d{4})",  # ADNI
        r"((?:patient|pat|subject|subj|proband|case)[_ -]?\d+)",
    )
)
_SESSION = re.compile(_EDGE + r"(ses-[0-9A-Za-z]+)(?![0-9A-Za-z])", re.IGNORECASE)
_PARTS = re.compile(r"[\\/]")


def patient_in(path: str) -> str:
    """The patient that a name or a path speaks of: BIDS's `sub-01`, a case of BraTS, ...; "" for none.

    The last part of a path that speaks of one counts.
    """
    return _found(path)[0]


def session_in(path: str) -> str:
    """The examination of its patient that a name or a path speaks of: BIDS's `ses-02`; "" for none."""
    sessions = [match[1].casefold() for match in map(_SESSION.search, _PARTS.split(path)) if match]
    return sessions[-1] if sessions else _found(path)[1]


def _found(path: str) -> tuple[str, str]:
    for part in reversed(_PARTS.split(path)):
        for pattern in _PATTERNS:
            match = pattern.search(part)
            if match:
                patient, session = (*match.groups(""), "")[:2]
                return patient.casefold(), session
    return "", ""
