"""Resampling between the source grid and the model's, equal to nnU-Net's, as one matrix product per axis.

nnU-Net calls `skimage.transform.resize(order, mode="edge", anti_aliasing=False)`, which is separable: along
an axis every output voxel is a weighted sum of the input's voxels. The weights form a matrix that is nearly
zero away from its diagonal, so it is applied in blocks that skip the zeros: by the native kernels where they
are there, else by torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial

import numpy as np
import torch
from torch import Tensor

from ...system.memory_settings import give_memory_back
from . import native as native_resampling

ANISOTROPY_THRESHOLD = 3.0  # nnU-Net's: beyond it the coarse axis is resampled apart from the other two

_CUBIC_PADDING = 12  # scipy repeats the edge this often before it solves for the spline's coefficients
_POLE = math.sqrt(3) - 2  # of the filter from samples to coefficients
_NEGLIGIBLE = 1e-8  # the spline's weights fall by a factor of 3.7 per voxel; below this they are dropped
_BLOCK = 32  # output voxels per block of the matrix; 32 to 64 were the fastest of 32 to 512 on two cores


def resampled_shape(
    shape: Sequence[int], spacing: Sequence[float], new_spacing: Sequence[float]
) -> tuple[int, int, int]:
    """The shape `(Z, Y, X)` at the new spacing, rounded as nnU-Net rounds it, at least one voxel per side."""
    z, y, x = (
        max(1, round(old / new * side)) for side, old, new in zip(shape, spacing, new_spacing, strict=True)
    )
    return z, y, x


def coarse_axis(*spacings: Sequence[float]) -> int | None:
    """The axis to be resampled on its own, or None for a grid that is nearly isotropic.

    The first of `spacings` (mm) whose largest is more than three times its smallest decides. Two equally
    coarse axes are resampled with the third.
    """
    for spacing in spacings:
        if max(spacing) / min(spacing) > ANISOTROPY_THRESHOLD:
            coarse = [axis for axis, side in enumerate(spacing) if side == max(spacing)]
            return coarse[0] if len(coarse) == 1 else None
    return None


@lru_cache(maxsize=8)  # the axes of most scans are alike; a matrix of 512 voxels takes a megabyte
def axis_weights(length: int, new_length: int, order: int) -> Tensor:
    """The matrix `(new_length, length)` that resamples one axis; not to be written to.

    Voxel centres are mapped as `(i + 0.5) * length / new_length - 0.5`; beyond the edge the edge is repeated.

    Args:
        length: voxels along the axis.
        new_length: voxels wanted.
        order: 0 nearest, 1 linear, 3 cubic B-spline (scipy's, prefilter included).
    """
    if length == new_length:
        return torch.eye(length)
    centres = length / new_length * (np.arange(new_length) + 0.5) - 0.5
    if order == 3:
        return torch.from_numpy(_cubic_weights(centres, length)).float()
    weights = np.zeros((new_length, length))
    rows = np.arange(new_length)
    if order == 0:
        weights[rows, np.floor(centres + 0.5).astype(int).clip(0, length - 1)] = 1
    else:
        lower = np.floor(centres)
        fraction = centres - lower
        for index, share in ((lower, 1 - fraction), (lower + 1, fraction)):
            weights[rows, index.astype(int).clip(0, length - 1)] += share
    return torch.from_numpy(weights).float()


def _cubic_weights(centres: np.ndarray, length: int) -> np.ndarray:
    """Cubic B-spline interpolation at `centres` (voxels) of a signal whose edges are repeated."""
    padded = length + 2 * _CUBIC_PADDING
    # The spline goes through the samples: its coefficients are those filtered, mirrored at the ends.
    row, column = np.ogrid[:padded, :padded]
    powers = math.sqrt(3) * _POLE ** np.arange(2 * padded)
    filtered = powers[abs(row - column)] + powers[row + column + 1] + powers[2 * padded - 1 - row - column]
    lower = np.floor(centres)
    t = (centres - lower)[:, None]
    basis = (
        (1 - t) ** 3 / 6,
        (4 - 6 * t**2 + 3 * t**3) / 6,
        (1 + 3 * t + 3 * t**2 - 3 * t**3) / 6,
        t**3 / 6,
    )
    first = lower.astype(int) - 1 + _CUBIC_PADDING
    weights = sum(share * filtered[first + offset] for offset, share in enumerate(basis))
    inner = weights[:, _CUBIC_PADDING : padded - _CUBIC_PADDING]
    inner[:, 0] += weights[:, :_CUBIC_PADDING].sum(1)
    inner[:, -1] += weights[:, padded - _CUBIC_PADDING :].sum(1)
    inner[abs(inner) < _NEGLIGIBLE] = 0
    return inner


def along_axis(x: Tensor, weights: Tensor, axis: int) -> Tensor:
    """Apply a matrix of `axis_weights` along one axis of `x`, skipping the blocks that are zero.

    Args:
        x: float tensor.
        weights: `(new, old)`; rows may be a slice of the whole matrix.
        axis: axis of length `old`; it gets the length `new`.
    """
    axis %= x.ndim
    new, old = weights.shape
    if x.device.type != "cpu":  # where asking for a number waits for the device, and zeros cost little
        return by_whole_matrix(x, weights, axis)
    if is_identity(weights):
        return x
    kernels = native_resampling.resampling_kernels()
    if kernels is not None and x.dtype == weights.dtype == torch.float32:
        return native_resampling.along_axis(kernels, x, weights, axis)
    before, after = x.shape[:axis], x.shape[axis + 1 :]
    source = x.reshape(before.numel(), old, after.numel())
    result = x.new_empty(before.numel(), new, after.numel())
    for start in range(0, new, _BLOCK):
        block = weights[start : start + _BLOCK]
        used = block.any(dim=0).nonzero()
        first, last = int(used[0]), int(used[-1]) + 1
        rows = slice(start, start + len(block))
        if after.numel() == 1:
            result[:, rows, 0] = source[:, first:last, 0] @ block[:, first:last].T
        else:
            result[:, rows] = block[:, first:last] @ source[:, first:last]
    return result.reshape(*before, new, *after)


def is_identity(weights: Tensor) -> bool:
    """Whether a matrix of weights changes nothing."""
    new, old = weights.shape
    return new == old and torch.equal(weights, torch.eye(old, device=weights.device))


def by_whole_matrix(x: Tensor, weights: Tensor, axis: int) -> Tensor:
    """The same by one product of whole matrices, as on a device.

    An axis of 512 x 512 x 300 voxels takes at most 80 GFLOP, 2 ms of a large card and 10 of a small one, of a
    run of half a second or more: not worth a second way to leave out zeros.
    """
    before, after = x.shape[:axis], x.shape[axis + 1 :]
    source = x.reshape(before.numel(), x.shape[axis], after.numel())
    with full_precision():
        if source.shape[2] == 1:
            result = source[:, :, 0] @ weights.T
        elif len(source) == 1:
            result = weights @ source[0]
        else:
            result = torch.bmm(weights.expand(len(source), -1, -1), source)
    return result.reshape(*before, len(weights), *after)


@contextmanager
def full_precision() -> Iterator[None]:
    """Forbid rounding products of float32 to TF32 or bfloat16 within the block.

    torch rounds nothing by itself, but `torch.set_float32_matmul_precision`, `torch.backends.cuda.matmul` or
    TORCH_ALLOW_TF32_CUBLAS_OVERRIDE let it, which NVIDIA's containers set. TF32 keeps eleven bits: one HU of
    2000.
    """
    allow = torch.set_float32_matmul_precision
    try:
        before, exact = torch.get_float32_matmul_precision(), "highest"
    except RuntimeError:  # set by the newer of torch's two interfaces, which must not be mixed
        matmul = torch.backends.cuda.matmul
        before, exact = matmul.fp32_precision, "ieee"
        allow = partial(setattr, matmul, "fp32_precision")
    if before == exact:
        yield
        return
    allow(exact)
    try:
        yield
    finally:
        allow(before)


def resample_image(image: Tensor, shape: Sequence[int], separate: int | None, order: int = 3) -> Tensor:
    """One channel on a new grid, as nnU-Net resamples images.

    Args:
        image: float32 `(Z, Y, X)`.
        shape: `(Z, Y, X)` wanted.
        separate: the axis from `coarse_axis`; it is resampled by nearest neighbour, slice by slice.
        order: of the spline along the other axes; 3, or 1 for masks.

    Returns:
        float32 of the shape wanted, clipped to the range of the image (of each slice with `separate`).
    """
    if tuple(image.shape) == tuple(shape):
        return image
    in_plane = [axis for axis in range(3) if axis != separate]
    if separate is None:
        lowest, highest = torch.aminmax(image)
    else:
        lowest, highest = (limit(in_plane, keepdim=True) for limit in (image.amin, image.amax))
    old = tuple(image.shape)
    # The given image can be freed after the first axis, if the caller keeps no reference.
    for axis in sorted(in_plane, key=lambda axis: shape[axis] / old[axis]):  # shrink first, grow last
        if old[axis] != shape[axis]:
            image = along_axis(image, axis_weights(old[axis], shape[axis], order).to(image.device), axis)
            give_memory_back()  # the next piece has another size
    if order > 1 and tuple(image.shape) != old:
        image.clamp_(lowest, highest)
    if separate is not None:
        nearest = axis_weights(old[separate], shape[separate], 0)
        image = image.index_select(separate, nearest.argmax(dim=1).to(image.device))
    return image
