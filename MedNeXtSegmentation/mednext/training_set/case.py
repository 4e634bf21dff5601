"""A corrected result as one more case of a training set in nnU-Net's layout.

imagesTr/tiny_0001_0000.nii.gz   one file for each channel
labelsTr/tiny_0001.nii.gz        the label values of the model
provenanceTr/tiny_0001.json      its origin and its corrections
dataset.json
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..errors import ChannelError, GeometryError, OptionError, OutputError
from ..images.geometry import Box, Geometry
from ..images.source_image import SourceImage
from ..model.description import Model
from ..segmentation.result import Segmentation
from ..system.atomic import UNFINISHED, explaining, remove_if_left
from ..system.locks import locked
from ..system.running_processes import signature
from .dataset import IMAGES, LABELS, PROVENANCE, free_case_name, read_description, write_description

_LOCK = ".mednext-lock"
_COMPLETE = ".adding"  # a folder with a whole case, which only has to be put in its place
# Labels first: nnU-Net lists the images, and must not find one without labels.
_PARTS = (LABELS, PROVENANCE, IMAGES)


@dataclass(frozen=True)
class TrainingCase:
    """A written case: its name, its data set's folder, and the names of its resampled channels.

    `left_out` counts the voxels of structures outside of the segmented region, which are not in the case;
    None where the case is the whole image.
    """

    name: str
    folder: Path
    resampled: tuple[str, ...]
    left_out: int | None = None


def add_training_case(
    folder: Path,
    model: Model,
    channels: Sequence[SourceImage],
    truth: Segmentation,
    *,
    region: Box | None = None,
    found: np.ndarray | None = None,
    author: str = "",
) -> TrainingCase:
    """Write images and corrected labels as a new case of the data set in `folder`, which may be new.

    Args:
        channels: the images in the model's order; all are written on the grid of the first.
        truth: the corrected labels on that grid, with the provenance of the original run.
        region: the box `(Z, Y, X)` of the grid to which the run was limited. The case is cropped to it: all
            around nobody has looked for the structures, and they would be taught as background.
        found: the labelmap `(Z, Y, X)` of that run, to count the corrections; None if unknown.
        author: the person who corrected it.

    Existing files are not overwritten: the case gets a new number. All files are written elsewhere, read
    back, and then renamed; a failure leaves no file of the case. After a kill the next call completes or
    removes the case.

    Raises `OptionError` when the labels are not those of the model or of the data set, `ChannelError` and
    `GeometryError` when the images do not fit them, `OutputError` and `DiskSpaceError` when the folder cannot
    be written.
    """
    _check_region(truth, region)
    _check_images(model, channels, truth)
    left_out = None
    if region is not None and truth.labelmap[region].shape != truth.labelmap.shape:
        left_out = int(np.count_nonzero(truth.labelmap) - np.count_nonzero(truth.labelmap[region]))
        cropped = np.ascontiguousarray(truth.labelmap[region])
        truth = replace(truth, labelmap=cropped, geometry=truth.geometry.cropped(region))
        found = None if found is None else found[region]
    _check_labels(model, truth)
    read_description(folder, model)  # refuses before any file is made
    images, resampled = _on_one_grid(channels)
    if region is not None and left_out is not None:
        images = [(array[region], truth.geometry) for array, _ in images]
    with explaining(folder):
        for place in (folder, *(folder / part for part in _PARTS)):
            place.mkdir(exist_ok=True)
        with locked(folder / _LOCK):  # another Slicer may be taking the same number
            description = read_description(folder, model)
            _finish_former(folder, description)
            name = free_case_name(folder, model.name)
            case = TrainingCase(name, folder, resampled, left_out)
            provenance = _provenance(case, model, channels, truth, found, author)
            _write(case, description, images, truth, provenance)
    return case


def _check_labels(model: Model, truth: Segmentation) -> None:
    values = set(np.unique(truth.labelmap).tolist()) - {0}
    known = {label.value for label in model.labels}
    unknown = [label.name for label in truth.labels if label.value in values - known]
    if unknown:
        names = ", ".join(f'"{name}"' for name in unknown)
        raise OptionError(
            f'The model "{model.name}" has no structure for the segments {names}: remove them, or move them '
            "to another segmentation."
        )
    present = {label.value for label in truth.labels}
    missing = [f'"{label.name}"' for label in model.labels if label.value not in present]
    if missing:
        raise OptionError(
            f"There are no segments of {', '.join(missing)}: their voxels would be taught as background. "
            "Segment all structures; one that is not in the image stays empty."
        )
    if not values:
        raise OptionError("All segments are empty: there is nothing to learn from.")


def _check_region(truth: Segmentation, region: Box | None) -> None:
    if truth.provenance.get("roi_ras_mm") and region is None:
        raise OptionError(
            "Only a region of the image was segmented, its voxels are not known, and all around would be "
            "taught as background: segment the region again."
        )


def _check_images(model: Model, channels: Sequence[SourceImage], truth: Segmentation) -> None:
    if len(channels) != len(model.channels):
        names = ", ".join(channel.name for channel in model.channels)
        raise ChannelError(
            f'The model "{model.name}" has {len(model.channels)} channels ({names}), but the run has '
            f"{len(channels)} images: segment again with all of them."
        )
    if not truth.geometry.close_to(channels[0].geometry):
        raise GeometryError(f'The labels are not on the grid of "{channels[0].name}": segment it again.')


def _on_one_grid(
    channels: Sequence[SourceImage],
) -> tuple[list[tuple[np.ndarray, Geometry]], tuple[str, ...]]:
    """Each image `(Z, Y, X)` on the first one's grid, and the names of the resampled ones."""
    from ..images.volume import Volume, check_volume, combine_channels

    first = channels[0]
    images, resampled = [], []
    for channel in channels:
        volume = Volume(np.asarray(channel.array, np.float32)[np.newaxis], channel.geometry, (channel.name,))
        check_volume(volume)
        if channel.geometry.close_to(first.geometry):
            images.append((channel.array, first.geometry))
            continue
        reference = Volume(np.asarray(first.array, np.float32)[np.newaxis], first.geometry, (first.name,))
        images.append((combine_channels([reference, volume]).array[1], first.geometry))
        resampled.append(channel.name)
    return images, tuple(resampled)


def _provenance(
    case: TrainingCase,
    model: Model,
    channels: Sequence[SourceImage],
    truth: Segmentation,
    found: np.ndarray | None,
    author: str,
) -> dict[str, Any]:
    return {
        "case": case.name,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "author": author,
        "mednext": __version__,
        "model": model.name,
        "model_version": model.version,
        "folds_sha256": {str(fold.index): fold.sha256 for fold in model.folds},
        "images": [channel.name for channel in channels],
        "resampled": list(case.resampled),
        "voxels_left_out": case.left_out,
        "labels": _corrections(truth, found),
        "run": dict(truth.provenance),
    }


def _corrections(truth: Segmentation, found: np.ndarray | None) -> list[dict[str, Any]]:
    """For each label its voxels and, where the run's labelmap is known, those added and removed."""
    rows = []
    for label in truth.labels:
        now = truth.labelmap == label.value
        row: dict[str, Any] = {"value": label.value, "name": label.name, "voxels": int(now.sum())}
        if found is not None:
            before = found == label.value
            row["added"] = int(np.count_nonzero(now & ~before))
            row["removed"] = int(np.count_nonzero(before & ~now))
        rows.append(row)
    return rows


def _write(
    case: TrainingCase,
    description: Mapping[str, Any],
    images: Sequence[tuple[np.ndarray, Geometry]],
    truth: Segmentation,
    provenance: Mapping[str, Any],
) -> None:
    """Write all files of a case into a folder beside, and then rename that: from there on the case exists."""
    from ..images.formats.image_files import write_image

    ending = description["file_ending"]
    beside = case.folder / f"{UNFINISHED}{signature()}-{case.name}"
    complete = case.folder / _COMPLETE
    try:
        for part in _PARTS:
            (beside / part).mkdir(parents=True)
        write_image(beside / LABELS / f"{case.name}{ending}", _narrow(truth.labelmap), truth.geometry)
        record = beside / PROVENANCE / f"{case.name}.json"
        record.write_text(json.dumps(provenance, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        for number, (array, geometry) in enumerate(images):
            write_image(beside / IMAGES / f"{case.name}_{number:04d}{ending}", array, geometry)
        beside.rename(complete)
        _put_in_place(case.folder, description)
    finally:
        for left in (beside, complete):
            shutil.rmtree(left, ignore_errors=True)


def _finish_former(folder: Path, description: Mapping[str, Any]) -> None:
    """Put the files of a case in their places whose process was killed meanwhile, and remove half a case."""
    for left in folder.glob(f"{UNFINISHED}*"):
        remove_if_left(left)
    if (folder / _COMPLETE).is_dir():
        _put_in_place(folder, description)
        shutil.rmtree(folder / _COMPLETE, ignore_errors=True)


def _put_in_place(folder: Path, description: Mapping[str, Any]) -> None:
    """Rename each file of a complete case into its folder, all or none, and count the cases."""
    with ExitStack() as undo:
        for part in _PARTS:
            for file in sorted((folder / _COMPLETE / part).glob("*")):
                target = folder / part / file.name
                if target.exists():
                    raise OutputError(f"{target} is there already: try again.")
                file.rename(target)
                undo.callback(_remove, target)
        write_description(folder, dict(description))
        undo.pop_all()


def _remove(file: Path) -> None:
    with suppress(OSError):
        file.unlink()


def _narrow(labelmap: np.ndarray) -> np.ndarray:
    return labelmap.astype(np.uint8) if labelmap.max() < 256 else labelmap
