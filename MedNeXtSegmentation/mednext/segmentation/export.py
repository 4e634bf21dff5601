"""Write a segmentation in the format of its file name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..errors import OptionError
from ..images.formats.image_files import write_image
from .formats.dicom_seg import BINARY, LABELMAP, write_dicom_seg
from .formats.seg_nrrd import write_seg_nrrd
from .result import Segmentation

Source = str | Path | Sequence[Path]


@dataclass(frozen=True)
class ResultFormat:
    """A format of results; `FORMATS` lists them all, for the commands and for Slicer's dialog.

    Attributes:
        title: in Slicer's dialog.
        suffixes: of the file names, the usual one first.
        write: write a segmentation to a path; the last argument is the source of `write_segmentation`.
        values_only: the file is an image of label values; Slicer writes their names and colours beside it.
        of_series: the file refers to the DICOM series of the image, its source.
    """

    title: str
    suffixes: tuple[str, ...]
    write: Callable[[Path, Segmentation, Source | None], None]
    values_only: bool = False
    of_series: bool = False


def _labelmap(path: Path, segmentation: Segmentation, _source: Source | None) -> None:
    write_image(path, segmentation.labelmap, segmentation.geometry)


def _seg_nrrd(path: Path, segmentation: Segmentation, _source: Source | None) -> None:
    write_seg_nrrd(path, segmentation)


def _dicom(path: Path, segmentation: Segmentation, source: Source | None, kind: str | None = None) -> None:
    if source is None:
        raise OptionError("DICOM SEG refers to the images: give the folder of the DICOM series as source.")
    write_dicom_seg(path, segmentation, source, kind)


# A name belongs to the first format with its suffix.
FORMATS: dict[str, ResultFormat] = {
    "seg.nrrd": ResultFormat("Slicer segmentation", (".seg.nrrd",), _seg_nrrd),
    "nrrd": ResultFormat("NRRD labelmap", (".nrrd",), _labelmap, values_only=True),
    "nifti": ResultFormat("NIfTI labelmap", (".nii.gz", ".nii"), _labelmap, values_only=True),
    "metaimage": ResultFormat("MetaImage labelmap", (".mha",), _labelmap, values_only=True),
    "dicom": ResultFormat("DICOM segmentation", (".dcm",), _dicom, of_series=True),
    "dicom-binary": ResultFormat(
        "DICOM segmentation, a bit for each voxel and segment",
        (".dcm",),
        partial(_dicom, kind=BINARY),
        of_series=True,
    ),
    "dicom-labelmap": ResultFormat(
        "DICOM segmentation, labelmap (Slicer 5.12 or later)",
        (".dcm",),
        partial(_dicom, kind=LABELMAP),
        of_series=True,
    ),
}


def write_segmentation(
    path: str | Path, segmentation: Segmentation, format: str | None = None, source: Source | None = None
) -> None:
    """Write a segmentation to a temporary file, read it back, then rename it. A failure leaves no file.

    Args:
        path: the file to write or replace.
        format: one of `FORMATS`; None takes it from the suffix of `path`.
        source: for a format `of_series`, the folder (or `folder#SeriesInstanceUID`) or the files of the
            segmented DICOM series.

    Raises `OptionError` for a format that does not fit the file name or lacks its source, `OutputError` and
    `DiskSpaceError` when the file cannot be written, and the errors of `write_dicom_seg`.
    """
    path = Path(path)
    FORMATS[format_of(path, format)].write(path, segmentation, source)


def format_of(path: Path, format: str | None = None) -> str:
    """The format to write `path` in; call it before the work, to refuse a wrong name early.

    Raises `OptionError` for an unknown format, or one that does not fit the suffix.
    """
    known = [name for name, each in FORMATS.items() if path.name.lower().endswith(each.suffixes)]
    if format is None:
        if not known:
            suffixes = ", ".join(suffix for each in FORMATS.values() for suffix in each.suffixes)
            raise OptionError(f"{path} has no known suffix: use one of {suffixes}.")
        return known[0]
    if format not in FORMATS:
        raise OptionError(f'"{format}" is no format: use one of {", ".join(FORMATS)}.')
    if format not in known:
        raise OptionError(
            f"{path} does not go with the format {format}: name it *{FORMATS[format].suffixes[0]}."
        )
    return format
