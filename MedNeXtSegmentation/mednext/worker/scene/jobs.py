"""Exports from Slicer's scene, written by a separate process: `mednext scene-job FOLDER`.

Slicer copies the input into a folder: voxels as arrays, all else as `job.json`. It must not do the work
itself: in its main thread the windows would freeze, and other threads hardly run there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ...errors import EngineProcessError, OutputError
from ...images.geometry import Box, Geometry
from ...images.source_image import SourceImage
from ...model.labels import Label
from ...segmentation.packed_labels import FoundLabels
from ...segmentation.result import Segmentation
from ...system.atomic import explaining, together
from ...system.json_reading import read_json
from ..voxel_files import mapped, writing
from .drawn_segments import DrawnSegments
from .segmentation_file import SegmentationFile

COLORS_SUFFIX = ".labels.csv"  # as Slicer's own export names it

_JOB_FILE = "job.json"
_FOUND_FILE = "found.zlib"


@dataclass(frozen=True, eq=False)
class SegNrrdJob:
    """Write a segmentation as Slicer's own file."""

    path: Path
    file: SegmentationFile

    def writing(self, folder: Path) -> Iterator[None]:
        """Write the job; yield before each plane of voxels. Raises OSError."""
        yield from self.file.writing(folder)
        _write(folder, {"kind": "seg.nrrd", "path": str(self.path), "file": self.file.to_json()})


@dataclass(frozen=True, eq=False)
class FileJob:
    """Write the segments in one of `segmentation.export.FORMATS`, or in that of the path's suffix; a labelmap
    gets a colour table beside it.

    `series` has the files of the image's DICOM series, if the format refers to it; `found` is the labelmap of
    the run, None if unknown.
    """

    path: Path
    drawn: DrawnSegments
    series: Sequence[Path]
    found: FoundLabels | None
    format: str | None = None

    def writing(self, folder: Path) -> Iterator[None]:
        """As `SegNrrdJob.writing`."""
        yield from self.drawn.writing(folder)
        job = {
            "kind": "file",
            "path": str(self.path),
            "drawn": self.drawn.to_json(),
            "series": [str(file) for file in self.series],
            "found": _written_found(folder, self.found),
            "format": self.format,
        }
        _write(folder, job)


@dataclass(frozen=True, eq=False)
class TrainingJob:
    """Add images and segments to a training set; see `training_set.case.add_training_case`.

    `model` is a folder. The channels' arrays may be `voxel_files.Planes`.
    """

    folder: Path
    model: Path
    channels: Sequence[SourceImage]
    drawn: DrawnSegments
    region: Box | None
    found: FoundLabels | None
    author: str

    def writing(self, folder: Path) -> Iterator[None]:
        """As `SegNrrdJob.writing`; also raises the errors of the channels' arrays."""
        for number, channel in enumerate(self.channels):
            yield from writing(folder / f"channel_{number}.npy", channel.array)
        yield from self.drawn.writing(folder)
        job = {
            "kind": "training",
            "folder": str(self.folder),
            "model": str(self.model),
            "channels": [{"name": each.name, "geometry": asdict(each.geometry)} for each in self.channels],
            "drawn": self.drawn.to_json(),
            "region": self.region and [[axis.start, axis.stop] for axis in self.region],
            "found": _written_found(folder, self.found),
            "author": self.author,
        }
        _write(folder, job)


SceneJob = SegNrrdJob | FileJob | TrainingJob


def carry_out(folder: Path) -> dict[str, Any]:
    """Do the job in a folder; return the written `files`, or the `case` of a training set.

    Raises `EngineProcessError` when the folder has no job, `OutputError` or `DiskSpaceError` when a file
    cannot be written, and the errors of `DrawnSegments.segmentation`, `write_segmentation` and
    `add_training_case`.
    """
    job = read_json(folder / _JOB_FILE, EngineProcessError)
    kinds = {"seg.nrrd": _seg_nrrd, "file": _file, "training": _training}
    try:
        work = kinds[job["kind"]]
    except (KeyError, TypeError) as cause:
        raise EngineProcessError(f"{folder / _JOB_FILE} holds no job that this version knows.") from cause
    return work(folder, job)


def _seg_nrrd(folder: Path, job: dict[str, Any]) -> dict[str, Any]:
    path = Path(job["path"])
    SegmentationFile.read(folder, job["file"]).write(path, folder)
    return {"files": [str(path)]}


def _file(folder: Path, job: dict[str, Any]) -> dict[str, Any]:
    from ...segmentation.export import FORMATS, format_of, write_segmentation

    path, found = Path(job["path"]), _read_found(folder, job["found"])
    segmentation = DrawnSegments.read(folder, job["drawn"]).segmentation()
    if found is None or not found.same_as(segmentation.labelmap):
        provenance = {**segmentation.provenance, "corrected": "yes"}  # also where it is unknown
        segmentation = replace(segmentation, provenance=provenance)
    series = [Path(file) for file in job["series"]] or None
    if not FORMATS[format_of(path, job["format"])].values_only:
        write_segmentation(path, segmentation, job["format"], series)
        return {"files": [str(path)]}
    colors = path.with_name(_without_suffix(path) + COLORS_SUFFIX)
    write_with_colors(path, colors, segmentation, job["format"])
    return {"files": [str(path), str(colors)]}


def write_with_colors(
    path: Path, colors: Path, segmentation: Segmentation, format: str | None = None
) -> None:
    """Write a labelmap and the names of its values, or keep both former files.

    At no time a labelmap lies beside the names of another one: after a kill it has its own, or none.

    Raises the errors of `write_segmentation`, and `OutputError` where the names of another file lie.
    """
    from ...segmentation.export import write_segmentation
    from ...segmentation.formats.color_table import color_table, write_color_table

    _check_colors(path, colors, segmentation.labels)
    former = colors.read_bytes() if colors.exists() else None
    try:
        with together():
            write_segmentation(path, segmentation, format)
            write_color_table(colors, segmentation.labels)
            if former != color_table(segmentation.labels):
                colors.unlink(missing_ok=True)
    except BaseException:  # boundary: whatever ended it, the former names come back
        if former is not None and not colors.exists():
            colors.write_bytes(former)
        raise


def _check_colors(path: Path, colors: Path, labels: Sequence[Label]) -> None:
    """Refuse to replace a different colour table, unless it belongs to the replaced file."""
    from ...segmentation.formats.color_table import color_table

    with explaining(colors):
        if not colors.exists() or colors.read_bytes() == color_table(labels):
            return
    name = _without_suffix(path)
    for other in (path.with_name(name + suffix) for suffix in _labelmap_suffixes()):
        if other.exists() and not (path.exists() and other.samefile(path)):
            raise OutputError(
                f"{colors.name} holds the labels of {other.name}, which are others: choose another name."
            )
    if not path.exists():
        raise OutputError(f"{colors.name} is there already and would be replaced: choose another name.")


def _without_suffix(path: Path) -> str:
    suffix = next(each for each in _labelmap_suffixes() if path.name.lower().endswith(each))
    return path.name[: -len(suffix)]


def _labelmap_suffixes() -> tuple[str, ...]:
    """The suffixes of the formats that a colour table belongs to."""
    from ...segmentation.export import FORMATS

    return tuple(suffix for each in FORMATS.values() if each.values_only for suffix in each.suffixes)


def _training(folder: Path, job: dict[str, Any]) -> dict[str, Any]:
    from ...model.model_file import read_model
    from ...training_set.case import add_training_case

    region, found = job["region"], _read_found(folder, job["found"])
    channels = [
        SourceImage(each["name"], mapped(folder / f"channel_{number}.npy"), Geometry(**each["geometry"]))
        for number, each in enumerate(job["channels"])
    ]
    case = add_training_case(
        Path(job["folder"]),
        read_model(Path(job["model"])),
        channels,
        DrawnSegments.read(folder, job["drawn"]).segmentation(),
        region=region and tuple(slice(start, stop) for start, stop in region),
        found=None if found is None else found.labelmap(),
        author=job["author"],
    )
    return {"case": {**asdict(case), "folder": str(case.folder)}}


def _write(folder: Path, job: dict[str, Any]) -> None:
    (folder / _JOB_FILE).write_text(json.dumps(job), encoding="utf-8")


def _written_found(folder: Path, found: FoundLabels | None) -> list[Any] | None:
    if found is None:
        return None
    (folder / _FOUND_FILE).write_bytes(found.packed)
    return [list(found.shape), found.type]


def _read_found(folder: Path, told: list[Any] | None) -> FoundLabels | None:
    if told is None:
        return None
    return FoundLabels(tuple(told[0]), told[1], (folder / _FOUND_FILE).read_bytes())
