"""nnU-Net's fingerprint and plan, changed to MedNeXt's: isotropic 1 mm, one patch size, batch of two."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from mednext.errors import InputError, MedNeXtError, OptionError, OutOfMemoryError
from mednext.library.catalog_source import find_task
from mednext.network.patch_sides import check_patch
from mednext.system.atomic import explaining, replacing
from mednext.system.json_reading import read_json

from ..datasets import IGNORE, Dataset
from ..run_record import digest
from ..workspace import Workspace
from .splits import cases_of, check_enough, renew_splits

logger = logging.getLogger(__name__)

CONFIGURATION = "3d_1mm"
PLANS_NAME = "MedNeXtPlans"
PATCH = (128, 128, 128)  # of the paper
_AGAIN = "Plan again, with 'mednext-train plan'."
_PLANNED = f"{PLANS_NAME}_planned.json"  # written last: without it planning was interrupted
_FACTS = ("cases_sha256", "orientation")
_PROCESS_ENDED = "background worker"  # in nnU-Net's words
_LOADERS = "nnUNet_n_proc_DA"
_MORE_THAN_ONE_STAGE = 4  # nnU-Net v1 adds a coarse stage where the median image has as many patches


def plan_and_preprocess(
    workspace: Workspace,
    dataset: Dataset,
    patch: Sequence[int] = PATCH,
    batch_size: int = 2,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    processes: int = 2,
    batch_dice: bool | None = None,
    regions: Mapping[str, Sequence[int]] | None = None,
    same_patient: Sequence[Sequence[str]] = (),
    facts: Mapping[str, str] | None = None,
) -> Path:
    """Plan an experiment with nnU-Net, set spacing, patch and batch size, and preprocess all cases.

    Args:
        workspace: where the raw data lies.
        dataset: the data set.
        patch: patch size in voxels, `(Z, Y, X)`, sides divisible by 16.
        batch_size: patches in a batch.
        spacing: target spacing in mm, `(Z, Y, X)`.
        processes: processes that preprocess.
        batch_dice: Dice over the batch instead of over each patch; None does as the reference, whose plans
            have it where the median image has more than four patches of 128³.
        regions: the label values of each region, where these are trained instead of labels; a region comes
            before those within it.
        same_patient: the cases of each patient with several: the split keeps them together.
        facts: see `Report.facts`; None where they are not known.

    Returns:
        The plans file.

    Raises:
        OptionError: a side of the patch is not divisible by 16, or the data set was not converted yet.
        InputError: nnU-Net refuses the data set.
        DiskSpaceError, OutputError: the preprocessed data cannot be written.
        OutOfMemoryError: a process was ended from outside.
    """
    check_patch(patch)
    if batch_size < 1:
        raise OptionError(f"A batch has at least one patch, not {batch_size}.")
    if not all(0.01 <= step <= 100 for step in spacing):
        raise OptionError(f"The spacing {tuple(spacing)} must lie between 0.01 and 100 mm.")
    raw = workspace.raw / dataset.folder_name / "dataset.json"
    if not raw.is_file():
        raise OptionError(f"{raw} does not exist: convert the data set first, with 'mednext-train convert'.")
    check_enough(dataset, cases_of(raw.parent, "Tr", dataset.file_ending))
    workspace.activate()
    try:
        numbers = {"spacing": list(spacing), "patch_size": list(patch), "batch_size": batch_size}
        with explaining(workspace.preprocessed / dataset.folder_name):
            target = _plan(workspace, dataset, numbers, processes, batch_dice, regions)
            _finish(workspace, dataset, target, same_patient, facts or {})
        return target
    except MedNeXtError:
        raise
    except Exception as cause:  # boundary: nnU-Net raises anything for data that it does not like
        logger.debug("planning failed", exc_info=True)
        if _PROCESS_ENDED in str(cause):
            raise OutOfMemoryError(
                f"A process that read cases of {dataset.folder_name} was ended by the system, most often for "
                f"want of memory: plan with fewer --processes than {processes}, or close other programs."
            ) from cause
        raise InputError(
            f"nnU-Net cannot plan for {dataset.folder_name} ({type(cause).__name__}: {cause}). Correct the "
            "data set, and convert it again."
        ) from cause


def task_regions(dataset: Dataset) -> dict[str, tuple[int, ...]]:
    """The regions of a data set's task, the widest first. Raises `OptionError` where it has none."""
    regions = find_task(dataset.task).regions if dataset.task else ()
    if not regions:
        raise OptionError(f"The task of {dataset.folder_name} has no regions: train its labels.")
    return {region.name: region.labels for region in sorted(regions, key=lambda each: -len(each.labels))}


def checked_regions(dataset: Dataset, regions: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """A user's regions of a data set. Raises `OptionError` where they do not cover its labels, or more."""
    if dataset.regions:
        raise OptionError(f"{dataset.folder_name} has regions already: they are trained without --region.")
    values = {value for region in regions.values() for value in region}
    if values != set(dataset.values):
        raise OptionError(
            f"The regions have the label values {sorted(values)}, {dataset.folder_name} has "
            f"{list(dataset.values)}: each must be in a region."
        )
    return dict(regions)


def read_plans(workspace: Workspace, dataset: Dataset) -> tuple[dict[str, Any], dict[str, Any]]:
    """The plans and the description of a data set that was planned; `Report.facts` are added to the latter.

    Raises:
        OptionError: it was not planned yet, planning was interrupted, the data were converted again since, or
            one of the files is damaged or was changed.
    """
    folder = workspace.preprocessed / dataset.folder_name
    files = folder / f"{PLANS_NAME}.json", folder / "dataset.json"
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise OptionError(f"{missing[0]} does not exist: plan first, with 'mednext-train plan'.")
    plans, description = (read_json(file, OptionError, _AGAIN) for file in files)
    configurations = plans.get("configurations") if isinstance(plans, dict) else None
    if not isinstance(configurations, dict) or CONFIGURATION not in configurations:
        raise OptionError(f"{files[0]} has no configuration {CONFIGURATION}: plan again.")
    if not isinstance(description, dict):
        raise OptionError(f"{files[1]} describes no data set: plan again.")
    marker = folder / _PLANNED
    planned = read_json(marker, OptionError, _AGAIN) if marker.is_file() else None
    if not isinstance(planned, dict) or planned.get("plans_sha256") != digest(plans):
        raise OptionError(f"{folder} was not planned to the end: plan again, with 'mednext-train plan'.")
    described = digest(description)
    if planned.get("description_sha256", described) != described:
        raise OptionError(f"{files[1]} was changed since it was planned. {_AGAIN}")
    raw = workspace.raw / dataset.folder_name / "dataset.json"
    if raw.is_file() and planned.get("dataset_sha256") != digest(read_json(raw, OptionError)):
        raise OptionError(f"{dataset.folder_name} was changed since it was planned: plan again.")
    return plans, description | {key: str(planned.get(key, "")) for key in _FACTS}


def _plan(
    workspace: Workspace,
    dataset: Dataset,
    numbers: dict[str, Any],
    processes: int,
    batch_dice: bool | None,
    regions: Mapping[str, Sequence[int]] | None,
) -> Path:
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        extract_fingerprints,
        plan_experiments,
        preprocess,
    )

    folder = workspace.preprocessed / dataset.folder_name
    (folder / _PLANNED).unlink(missing_ok=True)
    extract_fingerprints([dataset.identifier], num_processes=processes, check_dataset_integrity=False)
    with _some_loaders():
        plan_experiments([dataset.identifier])
    if regions:
        describe_regions(folder / "dataset.json", regions)
    plans = json.loads((folder / "nnUNetPlans.json").read_text(encoding="utf-8"))
    shape = median_shape(folder / "dataset_fingerprint.json", numbers["spacing"])
    if batch_dice is None:
        batch_dice = math.prod(shape) / math.prod(PATCH) >= _MORE_THAN_ONE_STAGE
    forward = plans["transpose_forward"]  # plans have the axes in the order in which they are trained
    turned = {key: [numbers[key][axis] for axis in forward] for key in ("spacing", "patch_size")}
    plans["plans_name"] = PLANS_NAME
    plans["configurations"][CONFIGURATION] = plans["configurations"]["3d_fullres"] | {
        "data_identifier": f"{PLANS_NAME}_{CONFIGURATION}",
        "median_image_size_in_voxels": [shape[axis] for axis in forward],
        "batch_dice": batch_dice,
        **numbers,
        **turned,
    }
    target = folder / f"{PLANS_NAME}.json"
    target.write_text(json.dumps(plans, indent=2), encoding="utf-8")
    preprocess([dataset.identifier], PLANS_NAME, [CONFIGURATION], num_processes=[processes])
    return target


def _finish(
    workspace: Workspace,
    dataset: Dataset,
    target: Path,
    same_patient: Sequence[Sequence[str]],
    facts: Mapping[str, str],
) -> None:
    """Split the cases, and keep that planning came to its end."""
    raw = workspace.raw / dataset.folder_name
    description = json.loads((raw / "dataset.json").read_text(encoding="utf-8"))
    renew_splits(workspace, dataset, cases_of(raw, "Tr", description["file_ending"]), same_patient)
    plans = json.loads(target.read_text(encoding="utf-8"))
    described = json.loads((target.parent / "dataset.json").read_text(encoding="utf-8"))
    planned = {
        "plans_sha256": digest(plans),
        "dataset_sha256": digest(description),
        "description_sha256": digest(described),
        **{key: facts.get(key, "") for key in _FACTS},
    }
    with replacing(target.parent / _PLANNED) as temporary:
        temporary.write_text(json.dumps(planned), encoding="utf-8")


@contextmanager
def _some_loaders() -> Iterator[None]:
    """nnU-Net's planner computes with as many threads as training has loaders, and none are too few."""
    none = os.environ.pop(_LOADERS) if os.environ.get(_LOADERS) == "0" else None
    try:
        yield
    finally:
        if none is not None:
            os.environ[_LOADERS] = none


def median_shape(fingerprint: Path, spacing: Sequence[float]) -> list[float]:
    """Median size of the cropped images in voxels of this spacing, `(Z, Y, X)`.

    Raises `InputError` for a damaged fingerprint.
    """
    facts = read_json(fingerprint, InputError, _AGAIN)
    try:
        shapes, spacings = (np.array(facts[key], dtype=float) for key in ("shapes_after_crop", "spacings"))
    except (KeyError, OverflowError, TypeError, ValueError):
        shapes = spacings = np.empty(0)
    fits = shapes.ndim == 2 and shapes.shape == spacings.shape == (len(shapes) or -1, 3)
    if not fits or not all(((each > 0) & (each < 1e6)).all() for each in (shapes, spacings)):
        raise InputError(f"{fingerprint} has not the sizes and spacings of all cases. {_AGAIN}")
    sizes = shapes * spacings / np.array(spacing)
    return [float(each) for each in np.median(sizes, axis=0)]


def check_painting(regions: Mapping[str, Sequence[int]], order: Sequence[int] = ()) -> None:
    """Refuse regions that no labels can hold.

    Args:
        regions: the label values of each.
        order: the value that each is painted with, later ones over earlier ones; empty where that is free.

    Raises:
        OptionError: two overlap, but neither is within the other; one lies within a later one; or it would
            be painted with the value of another.
    """
    own = _own_values(regions)
    fits = len(order) == len(own) and all(value in each for value, each in zip(order, own, strict=True))
    if order and not fits:
        raise OptionError(
            f'"regions_class_order" is {list(order)}, but the regions {", ".join(regions)} need each a value '
            f"of their own, one of {own}: correct the dataset.json."
        )


def _own_values(regions: Mapping[str, Sequence[int]]) -> list[list[int]]:
    """The values of each region that no later one has."""
    found, names = [], list(regions)
    for number, name in enumerate(names):
        values = set(regions[name])
        for later in names[number + 1 :]:
            if values & set(regions[later]) and not values > set(regions[later]):
                raise OptionError(
                    f'The regions "{name}" and "{later}" cannot be painted one over the other: name a region '
                    "before those within it, and no two that overlap otherwise."
                )
        within = {value for later in names[number + 1 :] for value in regions[later]}
        found.append([value for value in regions[name] if value not in within])
        if not found[-1]:
            raise OptionError(f'The region "{name}" has no value that no region after it has: leave it out.')
    return found


def describe_regions(file: Path, regions: Mapping[str, Sequence[int]]) -> None:
    """Make the outputs regions: each is painted with the label that it has beyond those that follow it."""
    order = [own[0] for own in _own_values(regions)]
    description = json.loads(file.read_text(encoding="utf-8"))
    ignored = {name: value for name, value in description["labels"].items() if name == IGNORE}
    labels = {name: list(values) for name, values in regions.items()}
    description["labels"] = {"background": 0} | labels | ignored
    description["regions_class_order"] = order
    file.write_text(json.dumps(description, indent=2), encoding="utf-8")
