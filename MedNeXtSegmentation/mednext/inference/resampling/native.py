"""Both resampling steps on the native kernels: to the model's grid, and from there to labels.

The weights stay those of `resampling.axis_weights`; the kernels only multiply, and skip zeros.
"""

from __future__ import annotations

import ctypes
import logging
import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor

from ...network.native_library import Kernels, native_library

logger = logging.getLogger(__name__)

_TOLERANCE = 1e-5  # of the test at the first use, whose numbers are around one


class Band(ctypes.Structure):
    """`Band` of resampling_jobs.h; the library finds out the last four itself."""

    _fields_ = [
        ("values", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("rows", "columns")),
        *((name, ctypes.c_void_p) for name in ("first", "stop", "packed", "packed_blocks")),
    ]


class Resampling(ctypes.Structure):
    """`Resampling` of resampling_jobs.h."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("source", "target")),
        *((name, ctypes.c_int64) for name in ("before", "after")),
        ("weights", Band),
    ]


class _Labelling(ctypes.Structure):
    """`Labelling` of resampling_jobs.h."""

    _fields_ = [
        ("values", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("channels", "channel_step", "row_step")),
        *((name, Band) for name in ("rows", "lines", "columns")),
        ("classes", ctypes.c_int64),
        ("regions", ctypes.c_void_p),
        ("threshold", ctypes.c_float),
        ("label_bytes", ctypes.c_int64),
        ("labels", ctypes.c_void_p),
        ("label_steps", ctypes.c_int64 * 3),
        ("uncertainty", ctypes.c_void_p),
        ("uncertainty_steps", ctypes.c_int64 * 3),
        ("entropy_scale", ctypes.c_float),
    ]


@cache
def resampling_kernels() -> Kernels | None:
    """The native kernels if they are there and right, which is tried once on a tiny image."""
    library = native_library()
    if library is None:
        return None
    try:
        kernels = Kernels(library)
        if _is_right(kernels):
            return kernels
    except Exception:  # boundary: an optional formulation may raise anything
        logger.warning("The native kernels cannot resample here: continuing with torch.", exc_info=True)
        return None
    logger.warning("The native kernels resample wrongly on this machine: continuing with torch.")
    return None


def along_axis(kernels: Kernels, x: Tensor, weights: Tensor, axis: int) -> Tensor:
    """`resampling.along_axis` for float32 on the CPU."""
    x, weights = x.contiguous(), weights.contiguous()
    before, after = x.shape[:axis], x.shape[axis + 1 :]
    result = x.new_empty(*before, len(weights), *after)
    job = Resampling(x.data_ptr(), result.data_ptr(), before.numel(), after.numel(), _band(weights))
    kernels.resample(ctypes.byref(job), torch.get_num_threads())
    return result


def write_labels(
    kernels: Kernels,
    values: Tensor,
    weights: Sequence[Tensor],
    classes: int,
    labels: np.ndarray,
    uncertainty: np.ndarray | None,
    painting: tuple[Sequence[int], float] | None,
) -> bool:
    """Interpolate predictions and write labels and uncertainty, a line of voxels at a time.

    Args:
        kernels: of `resampling_kernels`.
        values: float32 `(K, rows, Y, X)` on the CPU; the first `classes` decide on the label, the last
            are probabilities where there is an `uncertainty`.
        weights: for each axis the matrix (voxels of `labels`, voxels of `values`).
        classes: channels that decide.
        labels: uint8 or uint16 `(Z, Y, X)` to write into; may be a view.
        uncertainty: float32 of the same shape, or None.
        painting: for regions the label of each and the threshold that it has to exceed; None for the largest.

    Returns:
        False, and nothing is written, where the weights are neither linear nor nearest.
    """
    if not values[0, 0].is_contiguous() or labels.dtype not in (np.uint8, np.uint16):
        return False
    matrices = [matrix.contiguous() for matrix in weights]
    regions = np.array(painting[0] if painting else [], dtype=np.float32)
    largest_entropy = classes * math.log(2) if painting else math.log(max(classes, 2))
    job = _Labelling(
        values=values.data_ptr(),
        channels=len(values) if uncertainty is not None else classes,
        channel_step=values.stride(0),
        row_step=values.stride(1),
        rows=_band(matrices[0]),
        lines=_band(matrices[1]),
        columns=_band(matrices[2]),
        classes=classes,
        regions=regions.ctypes.data if painting else None,
        threshold=painting[1] if painting else 0,
        label_bytes=labels.itemsize,
        labels=labels.ctypes.data,
        label_steps=_steps(labels),
        uncertainty=None if uncertainty is None else uncertainty.ctypes.data,
        uncertainty_steps=(0, 0, 0) if uncertainty is None else _steps(uncertainty),
        entropy_scale=1 / largest_entropy,
    )
    return kernels.label(ctypes.byref(job), torch.get_num_threads())


def _band(weights: Tensor) -> Band:
    return Band(weights.data_ptr(), *weights.shape)


def _steps(array: np.ndarray) -> tuple[int, ...]:
    return tuple(stride // array.itemsize for stride in array.strides)


def _is_right(kernels: Kernels) -> bool:
    """Whether the kernels give the results of plain products of whole matrices."""
    generator = torch.Generator().manual_seed(0)
    weights = [_neighbour_weights(*lengths) for lengths in ((4, 3), (5, 7), (37, 20))]
    values = torch.rand(3, 3, 7, 20, generator=generator)
    expected = torch.einsum("kzyx,az,by,cx->kabc", values, *weights)
    found = values
    for axis, matrix in enumerate(weights, start=1):
        found = along_axis(kernels, found, matrix, axis)
    labels = np.zeros(expected.shape[1:], dtype=np.uint8)
    uncertainty = np.zeros(labels.shape, dtype=np.float32)
    done = write_labels(kernels, values, weights, 3, labels, uncertainty, None)
    entropy = torch.special.entr(expected).sum(dim=0).div(math.log(3)).clamp(0, 1)
    best = expected.gather(0, torch.from_numpy(labels).long().clamp(max=2)[None])[0]
    pairs = ((found, expected), (best, expected.amax(dim=0)), (torch.from_numpy(uncertainty), entropy))
    return done and all(bool(torch.isclose(a, b, atol=_TOLERANCE).all()) for a, b in pairs)


def _neighbour_weights(new: int, old: int) -> Tensor:
    """Some matrix `(new, old)` with two neighbouring weights in each row."""
    weights = torch.zeros(new, old)
    lower = torch.arange(new) * (old - 2) // max(new - 1, 1)
    share = torch.linspace(0.1, 0.9, new)
    weights[torch.arange(new), lower] = share
    weights[torch.arange(new), lower + 1] = 1 - share
    return weights
