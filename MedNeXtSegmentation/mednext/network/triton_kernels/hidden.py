"""The hidden channels of a block: norm, expansion and GELU, and their squares for the global response norm.

The norm scales each hidden channel by its size over the whole image, which no program sees. So the expanded
tensor is computed twice: first for `hidden_squares`, then, scaled, for the compression. It is never written.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .gelu import gelu
from .matrix_product import product


@triton.jit
def normed(values, affine, n, C: tl.constexpr, type):
    """Convolved values of some voxels of image `n` after the norm."""
    c = tl.arange(0, C)
    scale, shift = tl.load(affine + n * (2 * C) + c), tl.load(affine + n * (2 * C) + C + c)
    return (values.to(tl.float32) * scale[None, :] + shift[None, :]).to(type)


@triton.jit
def hidden_block(
    values,
    expansion,
    expansion_bias,
    h,
    HIDDEN: tl.constexpr,
    C: tl.constexpr,
    BLOCK_H: tl.constexpr,
    EXACT: tl.constexpr,
):
    """The hidden channels `h` of normed values `(voxels, C)`, float32."""
    c = tl.arange(0, C)
    first = tl.load(expansion + c[:, None] * HIDDEN + h[None, :])
    zeros = tl.zeros((values.shape[0], BLOCK_H), tl.float32)
    return gelu(product(values, first, zeros) + tl.load(expansion_bias + h)[None, :], EXACT)


@triton.jit
def hidden_squares(
    convolved,
    affine,
    expansion,
    expansion_bias,
    partials,
    Z,
    Y,
    X,
    C: tl.constexpr,
    HIDDEN: tl.constexpr,
    BLOCK_V: tl.constexpr,
    BLOCK_H: tl.constexpr,
    SPLITS: tl.constexpr,
    EXACT: tl.constexpr,
    UP: tl.constexpr,
):
    """Write each program's sums of squares of the hidden channels to `partials`, `(N, programs, HIDDEN)`.

    `convolved` is `(N, Z, Y, X, C)`; with UP `(N, 8, Z, Y, X, C)`, one grid for each parity, as of
    `depthwise_up`, of which those of odd places have a voxel less.
    """
    n = tl.program_id(2).to(tl.int64)
    block = tl.program_id(0)
    grid = n
    if UP:
        grid = n * 8 + block % 8
        block = block // 8
    voxels = Z * Y * X
    voxel = block * BLOCK_V + tl.arange(0, BLOCK_V)
    there = voxel < voxels
    if UP:
        parity = tl.program_id(0) % 8
        there &= (voxel // (Y * X) < Z - parity // 4) & (voxel // X % Y < Y - parity // 2 % 2)
        there &= voxel % X < X - parity % 2
    c = tl.arange(0, C)
    place = convolved + grid * voxels * C + voxel[:, None] * C + c[None, :]
    values = tl.load(place, mask=there[:, None], other=0.0)
    values = normed(values, affine, n, C, expansion.dtype.element_ty)
    partials += (n * tl.num_programs(0) + tl.program_id(0)) * HIDDEN
    start = tl.program_id(1) * (HIDDEN // SPLITS)
    for step in range(HIDDEN // SPLITS // BLOCK_H):
        h = start + step * BLOCK_H + tl.arange(0, BLOCK_H)
        hidden = hidden_block(values, expansion, expansion_bias, h, HIDDEN, C, BLOCK_H, EXACT)
        tl.store(partials + h, tl.sum(tl.where(there[:, None], hidden * hidden, 0.0), axis=0))
