"""Exports from Slicer's scene, written by a separate process: `mednext scene-job FOLDER`.

Slicer copies the input into a folder. It must not do the work itself: in its main thread the windows would
freeze, and other threads hardly run there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ...errors import OutputError
from ...images.formats.readable import without_suffix
from ...images.geometry import Box
from ...images.source_image import SourceImage
from ...model.labels import Label
from ...segmentation.formats.color_table import SUFFIX, color_table, write_color_table
from ...segmentation.packed_labels import FoundLabels
from ...segmentation.result import Segmentation
from ...system.atomic import explaining, together
from ..exchange import read_object, writing_object
from .drawn_segments import DrawnSegments
from .segmentation_file import SegmentationFile

_JOB_FILE = "job.json"


class _Job:
    """A job, which is written into a folder by one process and done by another."""

    def writing(self, folder: Path) -> Iterator[None]:
        """Write the job; yield before each plane of voxels. Raises OSError, and the errors of `Planes`."""
        return writing_object(folder, _JOB_FILE, {"job": self})


@dataclass(frozen=True, eq=False)
class SegNrrdJob(_Job):
    """Write a segmentation as Slicer's own file."""

    path: Path
    file: SegmentationFile

    def carry_out(self) -> dict[str, Any]:
        """See the function `carry_out`."""
        self.file.write(self.path)
        return {"files": [str(self.path)]}


@dataclass(frozen=True, eq=False)
class FileJob(_Job):
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

    def carry_out(self) -> dict[str, Any]:
        """See the function `carry_out`."""
        from ...segmentation.export import FORMATS, format_of, write_segmentation

        segmentation = self.drawn.segmentation()
        if self.found is None or not self.found.same_as(segmentation.labelmap):
            provenance = {**segmentation.provenance, "corrected": "yes"}  # also where it is unknown
            segmentation = replace(segmentation, provenance=provenance)
        if not FORMATS[format_of(self.path, self.format)].values_only:
            write_segmentation(self.path, segmentation, self.format, self.series or None)
            return {"files": [str(self.path)]}
        colors = self.path.with_name(without_suffix(self.path.name) + SUFFIX)
        write_with_colors(self.path, colors, segmentation, self.format)
        return {"files": [str(self.path), str(colors)]}


@dataclass(frozen=True, eq=False)
class TrainingJob(_Job):
    """Add images and segments to a training set; see `training_set.case.add_training_case`.

    `model` is a folder. The channels' arrays may be `exchange.Planes`.
    """

    folder: Path
    model: Path
    channels: Sequence[SourceImage]
    drawn: DrawnSegments
    region: Box | None
    found: FoundLabels | None
    author: str

    def carry_out(self) -> dict[str, Any]:
        """See the function `carry_out`."""
        from ...model.model_file import read_model
        from ...training_set.case import add_training_case

        case = add_training_case(
            self.folder,
            read_model(self.model),
            self.channels,
            self.drawn.segmentation(),
            region=self.region,
            found=None if self.found is None else self.found.labelmap(),
            author=self.author,
        )
        return {"case": {**asdict(case), "folder": str(case.folder)}}


SceneJob = SegNrrdJob | FileJob | TrainingJob


@dataclass(frozen=True, eq=False)
class _Written:
    """The content of `_JOB_FILE`."""

    job: SceneJob


def carry_out(folder: Path) -> dict[str, Any]:
    """Do the job in a folder; return the written `files`, or the `case` of a training set.

    Raises `EngineProcessError` when the folder has no job, `OutputError` or `DiskSpaceError` when a file
    cannot be written, and the errors of `DrawnSegments.segmentation`, `write_segmentation` and
    `add_training_case`.
    """
    return read_object(_Written, folder, _JOB_FILE).job.carry_out()


def write_with_colors(
    path: Path, colors: Path, segmentation: Segmentation, format: str | None = None
) -> None:
    """Write a labelmap and the names of its values, or keep both former files; see `together`.

    Raises the errors of `write_segmentation`, and `OutputError` where the names of another file lie.
    """
    from ...segmentation.export import write_segmentation

    _check_colors(path, colors, segmentation.labels)
    with together():
        write_segmentation(path, segmentation, format)
        write_color_table(colors, segmentation.labels)


def _check_colors(path: Path, colors: Path, labels: Sequence[Label]) -> None:
    """Refuse to replace a different colour table, unless it belongs to the replaced file."""
    with explaining(colors):
        if not colors.exists() or colors.read_bytes() == color_table(labels):
            return
    name = without_suffix(path.name)
    for other in (path.with_name(name + suffix) for suffix in _labelmap_suffixes()):
        if other.exists() and not (path.exists() and other.samefile(path)):
            raise OutputError(
                f"{colors.name} holds the labels of {other.name}, which are others: choose another name."
            )
    if not path.exists():
        raise OutputError(f"{colors.name} is there already and would be replaced: choose another name.")


def _labelmap_suffixes() -> tuple[str, ...]:
    """The suffixes of the formats that a colour table belongs to."""
    from ...segmentation.export import FORMATS

    return tuple(suffix for each in FORMATS.values() if each.values_only for suffix in each.suffixes)
