"""The formats of image files that are read. A new format is a file beside this one and a line here."""

from __future__ import annotations

from .image_header import ImageFormat
from .metaimage_header import METAIMAGE
from .nifti_header import NIFTI
from .nrrd_header import NRRD

FORMATS: tuple[ImageFormat, ...] = (
    NIFTI,
    NRRD,
    METAIMAGE,
)


def format_named(name: str) -> ImageFormat | None:
    """The format of a file of this name, None where none reads it."""
    name = name.lower()
    return next((each for each in FORMATS if name.endswith((*each.suffixes, *each.unlisted))), None)


def image_suffixes() -> tuple[str, ...]:
    """The suffixes that a batch looks for."""
    return tuple(suffix for each in FORMATS for suffix in each.suffixes)


def without_suffix(name: str) -> str:
    """A file's name without the suffix of its format."""
    format = format_named(name)
    if format is None:
        return name
    suffixes = (*format.suffixes, *format.unlisted)
    return name[: -max(len(suffix) for suffix in suffixes if name.lower().endswith(suffix))]


def named_formats() -> str:
    """All formats with their suffixes, for messages: "NIfTI (.nii, .nii.gz), NRRD (.nrrd, .nhdr)"."""
    return ", ".join(f"{each.name} ({', '.join(each.suffixes)})" for each in FORMATS)
