"""Whether there is enough memory for a run, before it takes any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...errors import OutOfMemoryError
from ...images.geometry import Geometry, shown
from ...model.description import Model
from ...system.free_memory import obtainable_memory
from ..options import Options
from .plan import device_kind, plan_memory, planned_run, resampled_shape

if TYPE_CHECKING:  # Slicer may lack what reads volumes
    from ...images.volume import Volume


def check_run(volume: Volume, model: Model, options: Options, device: str) -> None:
    """Refuse a run on a volume whose plan exceeds the memory that can be had. Raises as `check_memory`."""
    voxels = [volume.array.dtype] * len(volume.array)
    planned = planned_run(model, options, volume.geometry, voxels, device_kind(device))
    check_memory(model, volume.geometry, plan_memory(model, planned).more, volume.name(0))


def check_memory(model: Model, grid: Geometry, needed: int, name: str) -> None:
    """Refuse a run that cannot get `needed` bytes; `name` is that of its (first) image, on `grid`.

    An image whose spacing has the wrong unit becomes huge at the model's spacing, and the process killed.

    Raises:
        OutOfMemoryError: with the spacing, the resulting size, and the memory.
    """
    free = obtainable_memory()
    if free is None or needed <= free:
        return
    z, y, x = resampled_shape(grid, model)
    size = grid.reoriented(model.orientation)
    target = f"at the model's {shown(model.spacing[::-1])} mm" if model.spacing else "for the model"
    raise OutOfMemoryError(
        f"{name} has {_size(size.size)} voxels of {shown(size.spacing)} mm and becomes {_size((x, y, z))} "
        f"voxels {target}: that needs about {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB "
        "are available. Correct the spacing if its unit is wrong; else limit the run to a region, or close "
        "other programs."
    )


def _size(voxels: Sequence[int]) -> str:
    return " x ".join(map(str, voxels))
