"""How much memory a run will take, computed before it begins and without torch.

The plan follows the steps of `segment`, adds the sizes of their arrays, and takes the largest sum. The memory
of a pass through a network was measured (`_activations`); sums and images follow from their shapes.
`make memory` compares it with the peaks of real processes; docs/performance.md has the table.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Literal

import numpy as np

from ...images.geometry import Geometry, Roi
from ...images.source_image import kept_type
from ...model.description import Model, NetworkSpec
from ...network.native_library import CHANNELS, PLAIN_NUMBERS, library_file
from ..options import Options
from ..tiles import streaming_order, unfinished

MIB = 2**20

DeviceKind = Literal["cpu", "cuda", "mps"]

_FLOAT = 4
_LABEL = 1
_UNCERTAINTY = 2  # while the networks run; the result has float32
_COMPONENTS = 11  # of a label of which only the largest component stays; 7 to 11 measured, the most in noise
# Of the patient's mask, in bytes for each voxel: version 1 resamples it.
_MASK_V1, _MASK_V2 = 12, 5.5  # 11, and 2 to 6 measured
_TILES = {"cpu": 2, "mps": 2, "cuda": 3}  # predictions of tiles: of air, and of those at work
_PROCESS = 330 * MIB  # torch, SimpleITK and Python in the worker: 245 measured on Linux
_CUDA_BUILD = 160 * MIB  # more for a torch with CUDA's libraries, also without a card: 380 and 219 measured
_CUDA_HOST = 700 * MIB  # libraries of CUDA in the worker, an estimate
_CUDA_CONTEXT = 500 * MIB  # of a card for a process beside its tensors, an estimate
# Of one channel on a card: before, at and after a step; stored, in order and as float32 at first.
_ON_CARD = 3
_SLABS = 2 * 2**24  # of predictions at work while labels are written
_SLAB_ON_CARD = 128 * MIB  # whose sums are made in float64
_HOLES = 8  # masks and numbers of components, to find the outside of the patient
# Of the finest level's feature maps.
_NATIVE_MAPS = 1 + sum(2.0**level / 8**level for level in range(5))
_LEAN_MAPS = 2.4  # beside the logits
# Of the plain network, for each unit of the finest level's expansion ratio, and of other levels' beyond it.
_PLAIN_MAPS, _PLAIN_MAPS_BELOW = 9, 0.9  # together 18 measured with S, 34 with L
_NATIVE_COPIES = 3  # of the weights: the plain network's, and those of the kernels before and after the norm
_ALLOCATOR = 1.05  # freed blocks that do not fit the next request


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes that a run takes at its peak.

    Attributes:
        host: memory of the machine: the worker's process, and Slicer's copy of the result.
        device: memory of the graphics card; 0 where the networks run on the CPU, or share its memory (mps).
            When it has less, a part of the work moves to the host, and takes memory there.
        disk: temporary files through which voxels travel.
        worker: of `host`, the memory of the process that computes.
    """

    host: int
    device: int
    disk: int
    worker: int

    @property
    def more(self) -> int:
        """Of `host`, all that a process with the engine's packages does not have yet."""
        return self.host - process_bytes()


@dataclass(frozen=True)
class PlannedRun:
    """The properties of a run that decide its memory.

    Attributes:
        grid: of the (first) image.
        voxels: the type of each channel's voxels.
        folds: how many networks are averaged.
        device: "cpu", "cuda" or "mps".
        roi: limits the labels to a box; None for the whole image.
        uncertainty: whether the uncertainty is computed, too.
        mirroring: whether mirrored copies are averaged.
        step: distance of tiles as a fraction of the patch; None for the model's.
        intensities: whether the images are kept until the end.
    """

    grid: Geometry
    voxels: tuple[np.dtype, ...]
    folds: int
    device: DeviceKind = "cpu"
    roi: Roi | None = None
    uncertainty: bool = False
    mirroring: bool = True
    step: float | None = None
    intensities: bool = False


def device_kind(name: str) -> DeviceKind:
    """The kind of the device of this name, such as "cuda:1"."""
    kind = name.partition(":")[0]
    return "cuda" if kind == "cuda" else "mps" if kind == "mps" else "cpu"


def planned_run(
    model: Model, options: Options, grid: Geometry, voxels: Sequence[np.dtype], device: DeviceKind
) -> PlannedRun:
    """The run of a model with these options, whose quality decides folds, mirrored copies and tiles.

    bfloat16 is planned as float32, since not every processor has it.
    """
    return PlannedRun(
        grid,
        tuple(voxels),
        len(options.folds_of(model)),
        device,
        options.roi,
        options.uncertainty,
        bool(options.mirror_axes_of(model)),
        options.step_of(model),
        options.intensities,
    )


def process_bytes() -> int:
    """Bytes of a worker that has imported the engine's packages; torch itself is not imported here."""
    torch = PathFinder.find_spec("torch")
    if torch is None or torch.origin is None:
        return _PROCESS
    folder = Path(torch.origin).parent / "lib"
    names = ("libtorch_cuda.so", "torch_cuda.dll")
    return _PROCESS + (_CUDA_BUILD if any((folder / name).exists() for name in names) else 0)


def plan_memory(model: Model, run: PlannedRun) -> MemoryPlan:
    """The memory of a run. Raises `GeometryError` when the region is outside of the image."""
    whole = math.prod(run.grid.size)
    grid = run.grid.cropped(run.roi.box_in(run.grid)) if run.roi and model.field_of_view else run.grid
    source = math.prod(grid.size)
    channels = len(run.voxels)
    resampled = resampled_shape(grid, model)
    inside = math.prod(resampled)

    images = whole * sum(kept_type(each).itemsize for each in run.voxels)
    combining = 2 * images if channels > 1 else 0  # each on its own, and together
    model_images = channels * inside * _FLOAT
    on_cpu = run.device != "cuda"
    results = whole * (_LABEL + (_UNCERTAINTY if run.uncertainty else 0))
    kept_images = images if run.intensities else 0
    # Images on their source grid are freed before the networks run, and sums before results are finished.
    masked = any(channel.normalization == "zscore_masked" for channel in model.channels)
    preparing = images + (source * _HOLES if masked else 0)
    if on_cpu:
        preparing = images + model_images + _resampling(model, grid, resampled, masked)
    turned = whole * _FLOAT if run.uncertainty else 0
    finishing = results + max(turned, source * _COMPONENTS if model.keep_largest else 0)

    network = _network_bytes(model, run, resampled)
    weights = run.folds * parameters(model.network) * _FLOAT
    copies = _NATIVE_COPIES if _formulation(model.network, run.device) == "native" else 1
    predicting = results + (max(network.sums + network.activations, network.check) if on_cpu else 0)
    finishing += _activations(model.network, math.prod(model.patch), run.device) if on_cpu else 0
    running = max(predicting, finishing) + kept_images + weights * (copies - 1)
    running += model_images if on_cpu else 0
    host = process_bytes() + weights + max(combining, preparing, running) + (0 if on_cpu else _CUDA_HOST)
    on_card = max(_ON_CARD * max(source, inside) * _FLOAT + _SLAB_ON_CARD, network.sums + network.activations)
    device = 0 if on_cpu else _CUDA_CONTEXT + weights + model_images + on_card
    slicers_copy = whole * (_LABEL + (_FLOAT if run.uncertainty else 0))
    disk = whole * sum(each.itemsize for each in run.voxels) + results
    worker = int(host * _ALLOCATOR)
    return MemoryPlan(worker + slicers_copy, int(device * _ALLOCATOR), disk, worker)


def _resampling(model: Model, grid: Geometry, resampled: Sequence[int], masked: bool) -> int:
    """Bytes beside the images, while the CPU brings them to the model's grid one after the other.

    An axis at a time, those that shrink first; the last one's image is copied to the result.
    """
    shape = list(grid.reoriented(model.orientation).shape)
    source = largest = before = math.prod(shape)
    for axis in sorted(range(3), key=lambda axis: resampled[axis] / shape[axis]):
        shape[axis] = resampled[axis]
        if (after := math.prod(shape)) != before:
            largest = max(largest, before + after)
            before = after
    inside = before
    taken = max(largest - inside, inside) * _FLOAT
    if masked and model.pipeline == "nnunet_v1":
        return max(taken, _MASK_V1 * max(source, inside))
    return taken + int(_MASK_V2 * source if masked else 0)


def parameters(network: NetworkSpec) -> int:
    """How many numbers a network has, to a few per cent."""
    widths = [network.channels * 2**level for level in (0, 1, 2, 3, 4, 3, 2, 1, 0)]
    taps = network.kernel_size**network.dimensions
    down = network.down_expansion or network.expansion[1:5]
    resampling = (0, *down, *network.expansion[5:])
    total = 0
    for index, (width, ratio) in enumerate(zip(widths, network.expansion, strict=True)):
        total += network.blocks[index] * _block(width, width, ratio, taps)
        if index:
            before = widths[index - 1]
            total += _block(before, width, resampling[index], taps) + before * width  # with its residual
    return total


def _block(width: int, out: int, ratio: int, taps: int) -> int:
    """Depthwise convolution, norm, expansion and compression."""
    return width * (taps + 3) + width * ratio * (width + 1) + out * (width * ratio + 1)


@dataclass(frozen=True)
class _NetworkBytes:
    """Bytes of a run's network part.

    Attributes:
        sums: of the rows of tiles that are not finished, and the prediction of the current tile.
        activations: of one pass, and all else that later tiles need beside the sums.
        check: of the first tile, on the CPU, while the formulation is compared with the reference; there are
            no sums yet.
    """

    sums: int
    activations: int
    check: int


def _network_bytes(model: Model, run: PlannedRun, resampled: Sequence[int]) -> _NetworkBytes:
    logits = model.pipeline == "nnunet_v2"
    outputs = model.network.num_classes * (logits + (run.uncertainty or not logits))
    mirrored = run.mirroring and model.mirror_axes and run.device != "cpu"
    turned = model.network.num_classes if mirrored else 0  # mirrored logits
    step = model.step if run.step is None else run.step
    seen = _seen_shape(model, run, resampled)
    patch = math.prod(model.patch)
    axes = streaming_order(seen, model.patch, step)
    shape = (seen[axes[0]], seen[axes[1]], seen[axes[2]])
    kept = unfinished(shape, (model.patch[axes[0]], model.patch[axes[1]], model.patch[axes[2]]), step)
    of_tile = patch * outputs * _FLOAT
    others = (_TILES[run.device] - 1) * of_tile + turned * patch * _FLOAT + _SLABS
    return _NetworkBytes(
        of_tile + outputs * kept.voxels(shape) * _FLOAT,
        others + _activations(model.network, patch, run.device),
        of_tile + _check(model.network, patch, run.device, run.folds),
    )


def _activations(network: NetworkSpec, patch: int, device: DeviceKind) -> int:
    """Bytes of one pass through a network.

    Counted in feature maps of the finest level (channels x patch, fp32), where nearly all memory goes. On the
    native kernels these are the map of each level, and one for the output of a depthwise convolution, where
    the logits lie in the end if they find room; all folds share them. In plain torch it is a function of that
    level's expansion ratio. Measured for S, B, M, L (kernel 3) and L (kernel 5) with patches of 64 and 96:
    16.3 to 20.3 of them with the settings of `allocator` on Linux, which keep freed blocks, and 11.4 to 17.4
    without, which is the live memory. The latter is taken for other systems and for CUDA,
    unmeasured.
    """
    formulation = _formulation(network, device)
    if formulation == "native":
        return int((_NATIVE_MAPS * _wide(network) + _own_logits(network)) * patch * _FLOAT)
    if formulation == "lean":
        return int((_LEAN_MAPS * network.channels + network.num_classes) * patch * _FLOAT)
    ratio = _ratio(network)
    kept = device != "cuda" and sys.platform == "linux"
    maps = 16 + 1.5 * ratio if kept else _live_maps(ratio)
    return int(maps * network.channels * patch * _FLOAT)


def _check(network: NetworkSpec, patch: int, device: DeviceKind, folds: int) -> int:
    """Bytes of comparing a formulation with the plain network on a part of a tile, and on all of it.

    On a whole tile the lean formulation judges the native kernels. Each network gives its memory back before
    the next one, but the native kernels keep their activations, beside which the plain network is timed. By
    then it takes its live memory only: 11, 7 and 8 to 20 maps of a part were measured for S, B and L, and 21,
    22 and 22 to 37 at its first pass. The later ones of several folds are checked beside the activations of
    the first one.
    """
    formulation = _formulation(network, device)
    if formulation == "plain":
        return 0
    ratio = _ratio(network)
    below = _PLAIN_MAPS_BELOW * (max(network.expansion) - ratio)
    voxels = min(patch * network.channels, PLAIN_NUMBERS)
    part, timed = (_PLAIN_MAPS * ratio + below) * voxels, (_live_maps(ratio) + below) * voxels
    if formulation == "lean":
        return int(part * _FLOAT)
    ends = network.num_classes + 2 * network.in_channels
    judge = (_LEAN_MAPS * network.channels + ends) * patch
    judged = (_NATIVE_MAPS * _wide(network) + _own_logits(network)) * patch
    kept = judged if folds > 1 else 0
    return int(max(kept + part, kept + judge, judged + ends * patch, judged + timed) * _FLOAT)


def _live_maps(ratio: int) -> float:
    """Maps of the finest level that plain torch needs at a time, without freed blocks."""
    return 3 + 4.5 * ratio


def _ratio(network: NetworkSpec) -> int:
    """The expansion ratio of the finest level."""
    return max(network.expansion[0], network.expansion[-1])


def _wide(network: NetworkSpec) -> int:
    """Channels of the native kernels' finest level."""
    return -(-network.channels // CHANNELS) * CHANNELS


def _own_logits(network: NetworkSpec) -> int:
    """Channels of logits for which the native kernels find no room in their activations."""
    return network.num_classes if network.num_classes > _wide(network) else 0


def _formulation(network: NetworkSpec, device: DeviceKind) -> Literal["native", "lean", "plain"]:
    """The formulation on the CPU, as each `is_supported` tells; all others are planned as plain."""
    known = network.dimensions == 3 and not network.output_padding and network.resampling != "standard"
    if device != "cpu" or not known:
        return "plain"
    if library_file() is not None:
        return "native"
    return "plain" if network.grn else "lean"


def resampled_shape(grid: Geometry, model: Model) -> tuple[int, int, int]:
    """`(Z, Y, X)` of an image in the model's orientation and spacing."""
    oriented = grid.reoriented(model.orientation)
    spacing = oriented.spacing[::-1]
    target = model.spacing or spacing
    if model.network.dimensions == 2:
        target = (spacing[0], *target[1:])
    lengths = zip(oriented.shape, spacing, target, strict=True)
    z, y, x = (max(1, round(side * old / new)) for side, old, new in lengths)
    return z, y, x


def _seen_shape(model: Model, run: PlannedRun, resampled: Sequence[int]) -> list[int]:
    """The shape that the networks see: everything, or half a patch around the region."""
    if run.roi is None or model.field_of_view:
        return list(resampled)
    oriented = run.grid.reoriented(model.orientation)
    box = run.roi.box_in(oriented)
    return [
        min(side, max(patch, math.ceil((part.stop - part.start) / whole * side) + patch))
        for side, part, whole, patch in zip(resampled, box, oriented.shape, model.patch, strict=True)
    ]
