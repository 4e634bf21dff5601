"""Find the patient and the examination in the names of files and folders."""

from __future__ import annotations

import re

_EDGE = r"(?:^|(?<=[\\/_.\s-]))"  # the beginning of a word in a path
# The first group of each is the patient; the second one is the examination, in data sets that have several.
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
    """The patient in a name or a path: BIDS's `sub-01`, a case of BraTS, ...; "" for none.

    The last part of a path that names a patient counts.
    """
    return _found(path)[0]


def session_in(path: str) -> str:
    """The examination of the patient in a name or a path: BIDS's `ses-02`; "" for none."""
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
