"""How much memory a run will take, also one that finds both sides of a structure in a whole image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..images.geometry import Geometry, Roi
from ..inference.memory.plan import DeviceKind, MemoryPlan, plan_memory, planned_run, process_bytes
from ..inference.options import Options
from ..model.description import Model
from ..model.location import SIDES
from .whole_image import bin_factors, wants_boxes

_FLOAT, _LABEL = 4, 1
_LEVELS = 5  # copies of the image at the registration's finest resolution
_REGISTRATION = 2**26  # of ITK's optimisers and the template, 2**25 to 2**26 measured


def plan_of(
    model: Model, options: Options, grid: Geometry, voxels: Sequence[np.dtype], device: DeviceKind
) -> MemoryPlan:
    """The memory of a run of `locating.segment`. Raises `GeometryError` as `plan_memory` does."""
    if not wants_boxes(model, grid, options):
        return plan_memory(model, planned_run(model, options, grid, voxels, device))
    whole = math.prod(grid.size)
    result = whole * (_LABEL + (_FLOAT if options.uncertainty else 0))
    runs = [replace(options, roi=box, boxes=None, locate="none") for box in _boxes(model, options, grid)]
    plans = [plan_memory(model, planned_run(model, run, grid, voxels, device)) for run in runs]
    side = max(plan.worker for plan in plans)
    joining = process_bytes() + (len(SIDES) + 1) * result
    finding = process_bytes() + _REGISTRATION + whole * (voxels[0].itemsize + _FLOAT)
    finding += _LEVELS * _FLOAT * whole // math.prod(bin_factors(grid.spacing))
    worker = max(side + result, joining, 0 if options.boxes else finding)
    largest = max(plans, key=lambda plan: plan.device)
    return MemoryPlan(worker + result, largest.device, largest.disk, worker)


def _boxes(model: Model, options: Options, grid: Geometry) -> list[Roi]:
    """The boxes of both sides: those given, or of the size of those to be found, amid the image."""
    if options.boxes is not None:
        return list(options.boxes.values())
    assert model.location is not None
    middle = grid.ijk_to_ras @ [*((side - 1) / 2 for side in grid.size), 1.0]
    halves = [np.array(place.size) / 2 for place in model.location.places]
    return [Roi(tuple(middle[:3] - half), tuple(middle[:3] + half)) for half in halves]
