"""The network's first and last layer: from planes `(N, C, Z, Y, X)` to channels-last activations and back."""

from __future__ import annotations

import triton
import triton.language as tl

from .matrix_product import product


@triton.jit
def stem(
    image,
    weights,
    bias,
    out,
    voxels,
    channels,
    C: tl.constexpr,
    BLOCK_V: tl.constexpr,
):
    """`image` `(N, channels, voxels)` times `weights` `(channels, C)` gives `out` `(N, voxels, C)`."""
    n = tl.program_id(1).to(tl.int64)
    voxel = tl.program_id(0) * BLOCK_V + tl.arange(0, BLOCK_V)
    there = voxel < voxels
    c = tl.arange(0, C)
    sums = tl.zeros((BLOCK_V, C), tl.float32) + tl.load(bias + c)[None, :]
    for channel in range(channels):
        plane = tl.load(image + (n * channels + channel) * voxels + voxel, mask=there, other=0.0)
        sums += plane.to(tl.float32)[:, None] * tl.load(weights + channel * C + c)[None, :]
    place = out + n * voxels * C + voxel[:, None] * C + c[None, :]
    tl.store(place, sums.to(out.dtype.element_ty), mask=there[:, None])


@triton.jit
def head(
    x,
    weights,
    bias,
    logits,
    voxels,
    classes,
    C: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_V: tl.constexpr,
):
    """`x` `(N, voxels, C)` times `weights` `(C, classes, padded)` gives `logits` `(N, classes, voxels)`."""
    n = tl.program_id(2).to(tl.int64)
    voxel = tl.program_id(0) * BLOCK_V + tl.arange(0, BLOCK_V)
    there = voxel < voxels
    c = tl.arange(0, C)
    k = tl.program_id(1) * BLOCK_K + tl.arange(0, BLOCK_K)
    values = tl.load(x + n * voxels * C + voxel[:, None] * C + c[None, :], mask=there[:, None], other=0.0)
    columns = tl.num_programs(1) * BLOCK_K
    matrix = tl.load(weights + c[:, None] * columns + k[None, :])
    answer = product(values, matrix, tl.zeros((BLOCK_V, BLOCK_K), tl.float32)) + tl.load(bias + k)[None, :]
    place = logits + (n * classes + k.to(tl.int64))[None, :] * voxels + voxel[:, None]
    tl.store(place, answer, mask=there[:, None] & (k < classes)[None, :])
