"""Paths that may be given to ITK: it wants UTF-8, and ends the process for names of other encodings."""

from __future__ import annotations

from pathlib import Path

from .errors import MedNeXtError
from .shown_text import shown


def check_for_itk(path: Path, error: type[MedNeXtError]) -> None:
    """Refuse, with this class of error, a path that is not in UTF-8, as names in old archives may be."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise error(
            f"The name {shown(path)} is not in UTF-8: rename it, or give a link to it whose name is."
        ) from None
