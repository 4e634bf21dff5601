"""Names of cases: paths of results without suffix, which every file system takes."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

_FORBIDDEN = re.compile(r'[<>:"|?*\\/\x00-\x1f\x7f]')
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # Windows keeps these names
_MOST_BYTES = 180  # of a part; file systems take 255, and suffixes come on top


def safe_part(name: str) -> str:
    """A name as one part of a path, on every file system; letters of all languages stay."""
    name = name.encode(errors="replace").decode()  # a name that is no text on this computer
    safe = _FORBIDDEN.sub("_", unicodedata.normalize("NFC", name)).strip().rstrip(". ")
    if not safe or safe.startswith("."):
        safe = f"_{safe.lstrip('.')}"
    if _DEVICES.fullmatch(safe):
        safe = f"_{safe}"
    return safe.encode()[:_MOST_BYTES].decode(errors="ignore")


def safe_path(parts: Sequence[str]) -> str:
    """Several parts as a POSIX path."""
    return "/".join(safe_part(part) for part in parts)


def told_apart(names: Sequence[str], longer: Sequence[str]) -> list[str]:
    """The names, each once; those that are there twice get their longer form, then a number.

    Names that differ in upper and lower case only are the same for some file systems, and so for us.
    """
    counts = Counter(name.casefold() for name in names)
    told = [long if counts[name.casefold()] > 1 else name for name, long in zip(names, longer, strict=True)]
    seen: Counter[str] = Counter()
    taken = {name.casefold() for name in told}
    result = []
    for name in told:
        seen[name.casefold()] += 1
        numbered, number = name, seen[name.casefold()]
        while number > 1 and numbered.casefold() in taken:
            numbered, number = f"{name}_{number}", number + 1
        taken.add(numbered.casefold())
        result.append(numbered)
    return result
