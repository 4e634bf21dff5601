"""Segment any image: in a whole image, a model of crops first finds the boxes around its structure.

The engine's `segment` for every caller; `inference.segment` does one run over an image or a box of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..images.volume import Volume, handed_over
from ..inference import segment as inference
from ..inference.loaded_networks import LoadedNetworks
from ..inference.memory.check import check_memory
from ..inference.memory.plan import device_kind
from ..inference.options import Options
from ..inference.progress import Progress
from ..inputs.checked_volumes import checked_volume
from ..library.model_by_name import load_bundle
from ..model.bundle import Bundle
from ..model.description import Model
from ..model.location import SIDES
from ..model.sides import ASYMMETRY, sided_labels, sided_regions
from ..segmentation.intensities import INTENSITIES, intensities, to_words
from ..segmentation.result import Segmentation
from ..system.cancellation import check_cancelled
from ..system.devices import choose_device
from .both_sides import join
from .boxes import Boxes, find_boxes, given_boxes
from .memory import plan_of
from .plausibility import Part, asymmetry, part_doubts
from .registration import STEPS
from .whole_image import wants_boxes

Show = Callable[[Progress], None]


def segment(
    volumes: Volume | Iterable[Volume],
    bundle: Bundle | str | Path,
    options: Options | None = None,
    *,
    progress: Show | None = None,
    cancelled: Callable[[], bool] | None = None,
    networks: LoadedNetworks | None = None,
    **changes: Any,
) -> Segmentation:
    """Segment a volume with a model, as `inference.segment.segment` does, which has the arguments.

    Where `wants_boxes`, both sides of the structure are found and segmented, each in its box: the labels are
    those of `sided_labels`, and the provenance tells transform, similarity, boxes, volumes and asymmetry.

    Raises the errors of `inference.segment.segment`, of `find_boxes` and of `given_boxes`.
    """
    bundle = bundle if isinstance(bundle, Bundle) else load_bundle(bundle)
    options = replace(options or Options(), **changes)
    show = progress or (lambda _: None)
    networks = LoadedNetworks() if networks is None else networks
    if bundle.model.location is None:
        return inference.segment(
            volumes, bundle, options, progress=show, cancelled=cancelled, networks=networks
        )
    listed = [volumes] if isinstance(volumes, Volume) else list(volumes)
    del volumes
    if not listed or not wants_boxes(bundle.model, listed[0].geometry, options):
        return inference.segment(
            handed_over(listed), bundle, options, progress=show, cancelled=cancelled, networks=networks
        )
    volume = checked_volume(handed_over(listed), bundle.model, options.insist)
    return _both_sides(volume, bundle, options, show, cancelled, networks)


def _both_sides(
    volume: Volume,
    bundle: Bundle,
    options: Options,
    show: Show,
    cancelled: Callable[[], bool] | None,
    networks: LoadedNetworks,
) -> Segmentation:
    """Find the boxes, and segment each side in its own."""
    begin, model = time.monotonic(), bundle.model
    assert model.location is not None
    voxels = [volume.array.dtype] * len(volume.array)
    kind = device_kind(choose_device(options.device).type)
    plan = plan_of(model, options, volume.geometry, voxels, kind)
    check_memory(model, volume.geometry, plan.more, volume.name(0))
    boxes = _boxes(volume, model, options, show, cancelled)
    found = {}
    for number, side in enumerate(SIDES):
        alone = replace(options, roi=boxes.of_side[side], locate="none", boxes=None, intensities=False)
        found[side] = inference.segment(
            volume, bundle, alone, progress=_of_side(show, number), cancelled=cancelled, networks=networks
        )
    labels, parts = join(found, boxes.of_side, model)
    doubts = part_doubts(parts, model.location)
    for doubt in doubts:
        show(Progress("postprocessing", 1, 1, remark=doubt))
    provenance = {
        **found[SIDES[0]].provenance,
        **options.recipe(model),
        **boxes.told(),
        **_compared(parts),
        **_warning((*boxes.warnings, *_warnings_of(found), *doubts)),
        "seconds": f"{time.monotonic() - begin:.1f}",
    }
    joined = _joined(found, labels, provenance, model)
    if not options.intensities:
        return joined
    measured = intensities(joined.labelmap, volume.array, model.channels, joined.labels, joined.regions)
    return replace(joined, provenance={**joined.provenance, INTENSITIES: to_words(measured)})


def _boxes(
    volume: Volume, model: Model, options: Options, show: Show, cancelled: Callable[[], bool] | None
) -> Boxes:
    if options.boxes is not None:
        return given_boxes(options.boxes, volume.geometry)
    steps: Iterator[int] = iter(range(1, STEPS + 1))

    def step_done() -> None:
        check_cancelled(cancelled)
        show(Progress("locating", next(steps), STEPS))

    show(Progress("locating", 0, STEPS))
    boxes = find_boxes(volume, model, options.insist, step_done)
    for warning in boxes.warnings:
        show(Progress("locating", STEPS, STEPS, remark=warning))
    return boxes


def _of_side(show: Show, number: int) -> Show:
    """Show the progress of one side as a part of the whole."""

    def shown(step: Progress) -> None:
        left = step.total - step.done  # steps of this side
        rest = None
        if step.remaining_s is not None and left:
            rest = step.remaining_s * (1 + (len(SIDES) - 1 - number) * step.total / left)
        done, total = step.done + number * step.total, len(SIDES) * step.total
        show(replace(step, done=done, total=total, remaining_s=rest))

    return shown


def _joined(
    found: dict[str, Segmentation], labels: np.ndarray, provenance: dict[str, str], model: Model
) -> Segmentation:
    return Segmentation(
        labels,
        found[SIDES[0]].geometry,
        sided_labels(model.labels),
        provenance,
        _uncertainty([each.uncertainty for each in found.values()]),
        sided_regions(model.regions, model.labels),
    ).telling_regions()


def _warnings_of(found: dict[str, Segmentation]) -> tuple[str, ...]:
    """The warnings of the runs, each once."""
    told = (each.provenance.get("warning", "") for each in found.values())
    return tuple(dict.fromkeys(filter(None, told)))


def _warning(sentences: tuple[str, ...]) -> dict[str, str]:
    """The entry of the provenance, which replaces that of one side."""
    return {"warning": " ".join(sentences)} if sentences else {}


def _compared(parts: tuple[Part, ...]) -> dict[str, str]:
    """The volumes of the sides, and their difference (left - right) in percent of the mean."""
    left, right = (part.volume_ml for part in parts)
    difference = {ASYMMETRY: f"{100 * asymmetry(left, right):+.1f}"} if left + right else {}
    return {"left_ml": f"{left:.4f}", "right_ml": f"{right:.4f}", **difference}


def _uncertainty(of_sides: list[np.ndarray | None]) -> np.ndarray | None:
    """The larger one of both sides, in the memory of the first."""
    left, right = of_sides
    return None if left is None or right is None else np.maximum(left, right, out=left)
