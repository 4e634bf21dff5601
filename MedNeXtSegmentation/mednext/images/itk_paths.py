"""Paths and messages of ITK, which ends the process for names that are not in UTF-8, as in old archives."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def path_for_itk(path: Path) -> Iterator[str]:
    """The path of a file for ITK; a link stands in for a path that is not in UTF-8."""
    if _is_utf_8(str(path)):
        yield str(path)
        return
    suffix = "".join(path.suffixes[-2:])
    with TemporaryDirectory(prefix="mednext-") as folder:
        link = Path(folder, f"file{suffix if _is_utf_8(suffix) else ''}")
        link.symlink_to(path.resolve())
        yield str(link)


def reason(error: object) -> str:
    """The last sentence of a long message of ITK, without addresses in memory."""
    lines = [line.strip() for line in str(error).splitlines()]
    # "Reason:" is the operating system's latest error, often about something else.
    told = [line for line in lines if line and not line.startswith("Reason:")]
    return re.sub(r"^(sitk::ERROR: |ITK ERROR: \w+\(0x\w+\): )", "", told[-1]).rstrip(".")


def _is_utf_8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
