"""The job that exports a segmentation node, with the user's corrections, to a file."""

from __future__ import annotations

from pathlib import Path

import slicer
from mednext.errors import OutputError, UnreadableImageError
from mednext.worker.scene.jobs import LABELMAP_SUFFIXES, DicomJob, LabelmapJob, SceneJob, SegNrrdJob

from ..result_record import found_labels_of, images_of
from ..segments.region_segments import follow_labels
from .drawn_segments import drawn_segments_of
from .seg_nrrd import segmentation_file_of

FORMATS = (".seg.nrrd", *LABELMAP_SUFFIXES, ".dcm")  # .seg.nrrd stands before .nrrd


def export_job(node: slicer.vtkMRMLSegmentationNode, path: Path) -> SceneJob:
    """Copy the segments from the scene, for `engine.scene_job.start_job`.

    The suffix of `path` selects the format. A labelmap gets a colour table beside it, which labelmaps of the
    same name in another format share. An existing file is replaced: the caller has asked the user.

    Raises `OutputError` for a segmentation that the format cannot hold, and the errors of `drawn_segments_of`
    and `segmentation_file_of`. The job raises `OutputError`, and writes nothing, when there is a different
    colour table.
    """
    suffix = suffix_of(path)
    follow_labels(node)
    if suffix == ".seg.nrrd":
        return SegNrrdJob(path, segmentation_file_of(node))
    volume = next(iter(images_of(node)), None)
    if volume is None:
        raise OutputError(f'The image of "{node.GetName()}" is no longer in the scene: export .seg.nrrd.')
    drawn = drawn_segments_of(node, volume)
    if suffix == ".dcm":
        return DicomJob(path, drawn, dicom_files_of(volume), found_labels_of(node))
    return LabelmapJob(path, drawn)


def suffix_of(path: Path) -> str:
    """The suffix of a path's format. Raises `OutputError` for an unknown one."""
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
