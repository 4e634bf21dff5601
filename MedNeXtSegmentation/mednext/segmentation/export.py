"""Write a segmentation in the format of its file name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..errors import OptionError
from ..images.formats.image_files import write_image
from .formats.dicom_seg import write_dicom_seg
from .formats.seg_nrrd import write_seg_nrrd
from .result import Segmentation

Write = Callable[[Path, Segmentation, "str | Path | None"], None]


def _labelmap(path: Path, segmentation: Segmentation, _source: str | Path | None) -> None:
    write_image(path, segmentation.labelmap, segmentation.geometry)


def _seg_nrrd(path: Path, segmentation: Segmentation, _source: str | Path | None) -> None:
    write_seg_nrrd(path, segmentation)


def _dicom(path: Path, segmentation: Segmentation, source: str | Path | None) -> None:
    if source is None:
        raise OptionError("DICOM SEG refers to the images: give the folder of the DICOM series as source.")
    write_dicom_seg(path, segmentation, source)


# Each format with its suffixes and its writer. Only the first and the last keep names, colours and codes; the
# others hold the label values alone.
FORMATS: dict[str, tuple[tuple[str, ...], Write]] = {
    "seg.nrrd": ((".seg.nrrd",), _seg_nrrd),
    "nrrd": ((".nrrd",), _labelmap),
    "nifti": ((".nii.gz", ".nii"), _labelmap),
    "metaimage": ((".mha",), _labelmap),
    "dicom": ((".dcm",), _dicom),
}


def write_segmentation(
    path: str | Path, segmentation: Segmentation, format: str | None = None, source: str | Path | None = None
) -> None:
    """Write a segmentation to a temporary file, read it back, then rename it. A failure leaves no file.

    Args:
        path: the file to write or replace.
        format: one of `FORMATS`; None takes it from the suffix of `path`.
        source: for "dicom", the folder (or `folder#SeriesInstanceUID`) of the segmented DICOM series.

    Raises `OptionError` for a format that does not fit the file name or lacks its source, `OutputError` and
    `DiskSpaceError` when the file cannot be written, and the errors of `write_dicom_seg`.
    """
    path = Path(path)
    _, write = FORMATS[format_of(path, format)]
    write(path, segmentation, source)


def format_of(path: Path, format: str | None = None) -> str:
    """The format to write `path` in; call it before the work, to refuse a wrong name early.

    Raises `OptionError` for an unknown format, or one that does not fit the suffix.
    """
    known = [name for name, (suffixes, _) in FORMATS.items() if path.name.lower().endswith(suffixes)]
    if format is None:
        if not known:
            suffixes = ", ".join(suffix for group, _ in FORMATS.values() for suffix in group)
            raise OptionError(f"{path} has no known suffix: use one of {suffixes}.")
        return known[0]
    if format not in FORMATS:
        raise OptionError(f'"{format}" is no format: use one of {", ".join(FORMATS)}.')
    if format not in known:
        raise OptionError(f"{path} does not go with the format {format}: name it *{FORMATS[format][0][0]}.")
    return format
