"""A segmentation node as a file, as it is now: the user's corrections are in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import slicer
from mednext.errors import OutputError, UnreadableImageError
from mednext.labels import Label

from .drawn_segments import DrawnSegments
from .found_labels import FoundLabels, found_of
from .result_images import images_of
from .segmentation_file import SegmentationFile

FORMATS = (".seg.nrrd", ".nii.gz", ".nrrd", ".dcm")  # the longer of two that end alike comes first
COLORS_SUFFIX = ".labels.csv"  # as Slicer's own export names it
_LABELMAPS = (".nii.gz", ".nrrd")


def export_segments(node: slicer.vtkMRMLSegmentationNode, path: Path) -> Callable[[], list[Path]]:
    """Copy from the scene what is needed; the function that comes back writes the files, in any thread.

    The suffix of `path` says the format. A labelmap gets a colour table beside it, which labelmaps of the
    same name in another format share. An existing file is replaced: whoever asks has asked the user.

    Raises `OutputError` for what cannot be written in this format, and the errors of `DrawnSegments.take` and
    `SegmentationFile.take`. The function raises `OutputError`, and writes nothing, when another table is
    there that nobody has asked about.
    """
    suffix = suffix_of(path)
    if suffix == ".seg.nrrd":
        file = SegmentationFile.take(node)
        return lambda: file.write(path)
    volume = next(iter(images_of(node)), None)
    if volume is None:
        raise OutputError(f'The image of "{node.GetName()}" is no longer in the scene: export .seg.nrrd.')
    drawn = DrawnSegments.take(node, volume)
    if suffix == ".dcm":
        files, found = dicom_files_of(volume), found_of(node)
        return lambda: _write_dicom(path, drawn, files, found)
    return lambda: _write_labelmap(path, drawn)


def suffix_of(path: Path) -> str:
    """The format's suffix of a path. Raises `OutputError` for an unknown one."""
    suffix = next((each for each in FORMATS if path.name.lower().endswith(each)), None)
    if suffix is None:
        raise OutputError(f"{path.name} has no known suffix: use one of {', '.join(FORMATS)}.")
    return suffix


def dicom_files_of(volume: slicer.vtkMRMLScalarVolumeNode) -> list[Path]:
    """The files of the DICOM series that a volume was loaded from.

    Raises `OutputError` for a volume of another origin, `UnreadableImageError` when files are gone.
    """
    instances = (volume.GetAttribute("DICOM.instanceUIDs") or "").split()
    if not instances:
        raise OutputError(
            f'"{volume.GetName()}" was not loaded from DICOM, and a DICOM segmentation refers to a DICOM '
            "series: choose another format."
        )
    database = getattr(slicer, "dicomDatabase", None)
    files = [Path(database.fileForInstance(uid)) if database else Path() for uid in instances]
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise UnreadableImageError(
            f'{len(missing)} of the {len(files)} DICOM files of "{volume.GetName()}" are not in Slicer\'s '
            "DICOM database: import the series there again."
        )
    return files


def _write_labelmap(path: Path, drawn: DrawnSegments) -> list[Path]:
    from mednext.formats.color_table import write_color_table
    from mednext.formats.image_files import write_image

    colors = path.with_name(path.name[: -len(suffix_of(path))] + COLORS_SUFFIX)
    segmentation = drawn.segmentation()
    _check_colors(path, colors, segmentation.labels)
    write_image(path, segmentation.labelmap, segmentation.geometry)
    write_color_table(colors, segmentation.labels)
    return [path, colors]


def _check_colors(path: Path, colors: Path, labels: Sequence[Label]) -> None:
    """Refuse to replace a table that is another one, unless it is that of the file that is replaced."""
    from mednext.atomic import explaining
    from mednext.formats.color_table import color_table

    with explaining(colors):
        if not colors.exists() or colors.read_bytes() == color_table(labels):
            return
    name = path.name[: -len(suffix_of(path))]
    for other in (path.with_name(name + suffix) for suffix in _LABELMAPS):
        if other.exists() and not (path.exists() and other.samefile(path)):
            raise OutputError(
                f"{colors.name} tells the labels of {other.name}, which are others: choose another name."
            )
    if not path.exists():
        raise OutputError(f"{colors.name} is there already and would be replaced: choose another name.")


def _write_dicom(
    path: Path, drawn: DrawnSegments, files: Sequence[Path], found: FoundLabels | None
) -> list[Path]:
    from mednext.formats.dicom_seg import write_dicom_seg

    segmentation = drawn.segmentation()
    if found is None or not found.same_as(segmentation.labelmap):
        provenance = {**segmentation.provenance, "corrected": "yes"}  # nobody knows, or it was
        segmentation = replace(segmentation, provenance=provenance)
    write_dicom_seg(path, segmentation, files)
    return [path]
