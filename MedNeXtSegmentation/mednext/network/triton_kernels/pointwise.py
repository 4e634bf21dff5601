"""The second pass of a block: norm, expansion, GELU, compression, and the residual or skip connection.

The expanded tensor is never written: a program holds a block of voxels and loops over the hidden channels,
`BLOCK_H` at a time. Where the voxels are too few to keep the card busy, the hidden channels are split between
programs too, and `combine` adds the parts in a fixed order.

Weights: expansion `(C, HIDDEN)`, compression `(HIDDEN, OUT)`, residual `(C, OUT)` in the activations' type;
biases float32. `affine`, `(N, 2, C)` float32, is the norm's scale and shift. With the global response norm
`response`, `(N, HIDDEN)` float32, scales the hidden channels; its shift is part of the compression's bias.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .hidden import hidden_block, normed
from .matrix_product import product


@triton.jit
def _expanded_and_compressed(
    values,
    sums,
    expansion,
    expansion_bias,
    compression,
    response,
    HIDDEN: tl.constexpr,
    C: tl.constexpr,
    OUT: tl.constexpr,
    BLOCK_H: tl.constexpr,
    SPLITS: tl.constexpr,
    EXACT: tl.constexpr,
    GRN: tl.constexpr,
):
    """Add `gelu(values @ expansion + bias) @ compression` over this program's hidden channels to `sums`."""
    out = tl.arange(0, OUT)
    start = tl.program_id(1) * (HIDDEN // SPLITS)
    for step in range(HIDDEN // SPLITS // BLOCK_H):
        h = start + step * BLOCK_H + tl.arange(0, BLOCK_H)
        second = tl.load(compression + h[:, None] * OUT + out[None, :])
        hidden = hidden_block(values, expansion, expansion_bias, h, HIDDEN, C, BLOCK_H, EXACT)
        if GRN:
            hidden *= tl.load(response + h)[None, :]
        sums = product(hidden.to(second.dtype), second, sums)
    return sums


@triton.jit
def _residual(sums, x, from_voxel, there, residual, C: tl.constexpr, OUT: tl.constexpr):
    """Add the 1x1x1 convolution of these voxels of `x` to `sums`, some channels at a time."""
    BLOCK: tl.constexpr = C if C < 32 else 32
    out = tl.arange(0, OUT)
    for start in range(0, C, BLOCK):
        c = start + tl.arange(0, BLOCK)
        values = tl.load(x + from_voxel[:, None] * C + c[None, :], mask=there[:, None], other=0.0)
        sums = product(values, tl.load(residual + c[:, None] * OUT + out[None, :]), sums)
    return sums


@triton.jit
def _answered(
    sums, head, head_bias, logits, voxel, there, n, voxels, classes, C: tl.constexpr, COLUMNS: tl.constexpr
):
    """Write `sums @ head`, `(C, COLUMNS)`, plus its bias to `logits`, `(N, classes, voxels)`."""
    c, k = tl.arange(0, C), tl.arange(0, COLUMNS)
    matrix = tl.load(head + c[:, None] * COLUMNS + k[None, :])
    zeros = tl.zeros((sums.shape[0], COLUMNS), tl.float32)
    answer = product(sums.to(matrix.dtype), matrix, zeros) + tl.load(head_bias + k)[None, :]
    place = logits + (n * classes + k)[None, :] * voxels + voxel[:, None]
    tl.store(place, answer, mask=there[:, None] & (k < classes)[None, :])


@triton.jit
def _finished(
    sums,
    compression_bias,
    target,
    parts,
    place,
    there,
    n,
    image,
    OUT: tl.constexpr,
    SPLITS: tl.constexpr,
    ADD: tl.constexpr,
):
    """Write `sums` to `target`, or with split hidden channels to `parts`, `(SPLITS, N, voxels, OUT)`."""
    out = tl.arange(0, OUT)
    offsets = place[:, None] * OUT + out[None, :]
    mask = there[:, None]
    if SPLITS > 1:
        images = tl.num_programs(2).to(tl.int64)
        tl.store(parts + (tl.program_id(1) * images + n) * image + offsets, sums, mask=mask)
    else:
        target += n * image
        sums += tl.load(compression_bias + out)[None, :]
        if ADD:
            sums += tl.load(target + offsets, mask=mask, other=0.0).to(tl.float32)
        tl.store(target + offsets, sums.to(target.dtype.element_ty), mask=mask)


@triton.jit
def pointwise(
    convolved,
    affine,
    expansion,
    expansion_bias,
    compression,
    compression_bias,
    response,
    x,
    residual,
    target,
    parts,
    head,
    head_bias,
    logits,
    classes,
    Z,
    Y,
    X,
    C: tl.constexpr,
    HIDDEN: tl.constexpr,
    OUT: tl.constexpr,
    BLOCK_V: tl.constexpr,
    BLOCK_H: tl.constexpr,
    SPLITS: tl.constexpr,
    ADD: tl.constexpr,
    DOWN: tl.constexpr,
    EXACT: tl.constexpr,
    GRN: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Stride 1 and 2: `convolved` and `target` are `(N, Z, Y, X, ...)`.

    Args:
        ADD: add to the values of `target` (the residual path, where `target` is the block's input).
        DOWN: add `x @ residual` of every second voxel of `x`, `(N, 2Z, 2Y, 2X, C)`.
        COLUMNS: if it is not 0, write only the logits of the head to `logits`.
    """
    n = tl.program_id(2).to(tl.int64)
    voxels = Z * Y * X
    voxel = tl.program_id(0) * BLOCK_V + tl.arange(0, BLOCK_V)
    there = voxel < voxels
    c = tl.arange(0, C)
    values = tl.load(
        convolved + n * voxels * C + voxel[:, None] * C + c[None, :], mask=there[:, None], other=0.0
    )
    values = normed(values, affine, n, C, expansion.dtype.element_ty)
    sums = tl.zeros((BLOCK_V, OUT), tl.float32)
    if DOWN:
        if tl.program_id(1) == 0:
            from_voxel = ((voxel // (Y * X) * 2) * (2 * Y) + voxel // X % Y * 2) * (2 * X) + voxel % X * 2
            sums = _residual(sums, x + n * voxels * 8 * C, from_voxel, there, residual, C, OUT)
    response += n * HIDDEN
    sums = _expanded_and_compressed(
        values, sums, expansion, expansion_bias, compression, response,
        HIDDEN, C, OUT, BLOCK_H, SPLITS, EXACT, GRN,
    )  # fmt: skip
    if COLUMNS > 0:
        out = tl.arange(0, OUT)
        sums += tl.load(compression_bias + out)[None, :]
        if ADD:
            target += n * voxels * OUT
            offsets = voxel[:, None] * OUT + out[None, :]
            sums += tl.load(target + offsets, mask=there[:, None], other=0.0).to(tl.float32)
        _answered(sums, head, head_bias, logits, voxel, there, n, voxels, classes, OUT, COLUMNS)
    else:
        image = voxels.to(tl.int64) * OUT
        _finished(sums, compression_bias, target, parts, voxel, there, n, image, OUT, SPLITS, ADD)


@triton.jit
def _cells(tile, Z, Y, X, BLOCK_V: tl.constexpr, BLOCK_Y: tl.constexpr, BLOCK_X: tl.constexpr):
    """The places of a box of `BLOCK_V` cells; its sides are powers of two, which makes divisions cheap."""
    tiles_x, tiles_y = tl.cdiv(X, BLOCK_X), tl.cdiv(Y, BLOCK_Y)
    cell = tl.arange(0, BLOCK_V)
    zs = tile // (tiles_x * tiles_y) * (BLOCK_V // (BLOCK_Y * BLOCK_X)) + cell // (BLOCK_Y * BLOCK_X)
    ys = tile // tiles_x % tiles_y * BLOCK_Y + cell // BLOCK_X % BLOCK_Y
    return zs, ys, tile % tiles_x * BLOCK_X + cell % BLOCK_X


@triton.jit
def pointwise_up(
    convolved,
    affine,
    expansion,
    expansion_bias,
    compression,
    compression_bias,
    response,
    x,
    residual,
    target,
    parts,
    Z,
    Y,
    X,
    C: tl.constexpr,
    HIDDEN: tl.constexpr,
    OUT: tl.constexpr,
    BLOCK_V: tl.constexpr,
    BLOCK_Y: tl.constexpr,
    BLOCK_X: tl.constexpr,
    BLOCK_H: tl.constexpr,
    SPLITS: tl.constexpr,
    RESIDUAL: tl.constexpr,
    EXACT: tl.constexpr,
    GRN: tl.constexpr,
):
    """Transposed: add to the skip connection in `target`, `(N, 2Z, 2Y, 2X, OUT)`.

    `x` is `(N, Z, Y, X, C)`, `convolved` the result of `depthwise_up`.

    The 2n-1 grid begins at voxel 1, since the zero planes on the left do not change the skip connection. Each
    program has voxels of one parity; the transposed 1x1x1 residual is the input at the even voxels.
    """
    n = tl.program_id(2).to(tl.int64)
    x += n * Z * Y * X * C
    c = tl.arange(0, C)
    parity = tl.program_id(0) % 8
    odd_z, odd_y, odd_x = parity // 4, parity // 2 % 2, parity % 2
    zs, ys, xs = _cells(tl.program_id(0) // 8, Z, Y, X, BLOCK_V, BLOCK_Y, BLOCK_X)
    # A side of n voxels becomes 2n-1: n even places and n-1 odd ones.
    there = (zs < Z - odd_z) & (ys < Y - odd_y) & (xs < X - odd_x)
    cells = (zs * Y + ys) * X + xs
    convolved += (n * 8 + parity) * (Z * Y * X).to(tl.int64) * C
    values = tl.load(convolved + cells[:, None] * C + c[None, :], mask=there[:, None], other=0.0)
    values = normed(values, affine, n, C, expansion.dtype.element_ty)
    sums = tl.zeros((BLOCK_V, OUT), tl.float32)
    if RESIDUAL:
        if (parity == 0) & (tl.program_id(1) == 0):
            sums = _residual(sums, x, cells, there, residual, C, OUT)
    response += n * HIDDEN
    sums = _expanded_and_compressed(
        values, sums, expansion, expansion_bias, compression, response,
        HIDDEN, C, OUT, BLOCK_H, SPLITS, EXACT, GRN,
    )  # fmt: skip
    place = (zs * (2 * Y) + ys) * (4 * X) + 2 * xs + ((odd_z + 1) * (2 * Y) + odd_y + 1) * (2 * X) + odd_x + 1
    image = (Z * Y * X).to(tl.int64) * 8 * OUT
    _finished(sums, compression_bias, target, parts, place, there, n, image, OUT, SPLITS, True)


@triton.jit
def combine(
    parts,
    compression_bias,
    target,
    Z,
    Y,
    X,
    OUT: tl.constexpr,
    BLOCK_V: tl.constexpr,
    BLOCK_C: tl.constexpr,
    SPLITS: tl.constexpr,
    ADD: tl.constexpr,
    UP: tl.constexpr,
):
    """Add the parts of the hidden channels, first to last, and the bias to `target`, `(N, Z, Y, X, OUT)`.

    UP: the left planes have no parts and stay unchanged.
    """
    voxels = Z * Y * X
    n = tl.program_id(2).to(tl.int64)
    voxel = tl.program_id(0) * BLOCK_V + tl.arange(0, BLOCK_V)
    there = voxel < voxels
    if UP:
        there &= (voxel >= Y * X) & (voxel // X % Y > 0) & (voxel % X > 0)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    mask = there[:, None]
    offsets = voxel[:, None] * OUT + c[None, :]
    image = voxels.to(tl.int64) * OUT
    target += n * image
    parts += n * image
    sums = tl.zeros((BLOCK_V, BLOCK_C), tl.float32)
    for split in tl.static_range(SPLITS):
        sums += tl.load(parts + split * tl.num_programs(2) * image + offsets, mask=mask, other=0.0)
    sums += tl.load(compression_bias + c)[None, :]
    if ADD:
        sums += tl.load(target + offsets, mask=mask, other=0.0).to(tl.float32)
    tl.store(target + offsets, sums.to(target.dtype.element_ty), mask=mask)
