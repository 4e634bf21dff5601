"""The job that exports a segmentation node, with the user's corrections, to a file."""

from __future__ import annotations

from pathlib import Path

import slicer
from mednext.errors import OutputError, UnreadableImageError
from mednext.worker.scene.jobs import FileJob, SceneJob, SegNrrdJob

from ..result_record import found_labels_of, images_of
from ..segments.region_segments import follow_labels
from .drawn_segments import drawn_segments_of
from .seg_nrrd import segmentation_file_of


def export_job(node: slicer.vtkMRMLSegmentationNode, path: Path, format: str | None = None) -> SceneJob:
    """Copy the segments from the scene, for `engine.scene_job.start_job`.

    The format is one of `mednext.segmentation.export.FORMATS`, by default that of the path's suffix. A
    labelmap gets a colour table beside it, which labelmaps of the same name in another format share. An
    existing file is replaced: the caller has asked the user.

    Raises `OptionError` for an unknown suffix or that of another format, `OutputError` for a segmentation
    that the format cannot hold, and the errors of `drawn_segments_of` and `segmentation_file_of`. The job
    raises `OutputError`, and writes nothing, when there is a different colour table.
    """
    from mednext.segmentation.export import FORMATS, format_of  # SimpleITK is not loaded at Slicer's start

    known = format_of(path, format)
    follow_labels(node)
    if known == "seg.nrrd":
        return SegNrrdJob(path, segmentation_file_of(node))  # also holds segments that overlap
    volume = next(iter(images_of(node)), None)
    if volume is None:
        raise OutputError(f'The image of "{node.GetName()}" is no longer in the scene: export .seg.nrrd.')
    drawn = drawn_segments_of(node, volume)
    series = dicom_files_of(volume) if FORMATS[known].of_series else []
    return FileJob(path, drawn, series, found_labels_of(node), known)


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
