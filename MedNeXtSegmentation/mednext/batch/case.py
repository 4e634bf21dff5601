"""One case of a batch: its name, its images, and why it is skipped or refused."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import MedNeXtError
from ..system.file_names import safe_path
from ..system.shown_text import shown


@dataclass(frozen=True)
class Case:
    """One thing to segment.

    Attributes:
        name: the place of the result, a relative POSIX path without suffix.
        images: one for each channel in the model's order, as `read_volume` takes them.
        files: all files of the images.
        source: the images, as reports and results name them.
        problem: why it cannot be segmented.
        left_out: why it need not be segmented, or "".
        content: a fingerprint of the images, known beforehand, where these are not files.
        long_name: used where another case has the same name: `scan.nii` and `scan.mha` in one folder.
    """

    name: str
    images: tuple[str, ...]
    files: tuple[Path, ...]
    source: str
    problem: MedNeXtError | None = None
    left_out: str = ""
    long_name: str = ""
    content: str = ""


def relative(path: Path, root: Path) -> str:
    """A path as reports show it, the same on every system."""
    return shown(path.relative_to(root).as_posix())


def folder_name(folder: Path, root: Path) -> str:
    """The name of a case that is a whole folder."""
    parts = folder.relative_to(root).parts
    return safe_path(parts or (root.resolve().name,))
