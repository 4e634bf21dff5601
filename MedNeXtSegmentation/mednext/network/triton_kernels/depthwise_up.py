"""The first pass of a block that doubles the grid: transposed depthwise convolution and its statistics.

The output has 2n-1 voxels along an axis of n. It is written parity by parity, `(N, 8, Z, Y, X, C)`: voxels
`2 (z, y, x) + (odd_z, odd_y, odd_x)` with the same odd numbers lie together, since the second pass works on
voxels of one parity. The last odd places of each axis are unused. All else is as in `depthwise.py`.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .depthwise import write_statistics


@triton.jit
def _with_tap(
    result,
    value,
    weights,
    c,
    z: tl.constexpr,
    y: tl.constexpr,
    x: tl.constexpr,
    C: tl.constexpr,
    K: tl.constexpr,
):
    """Add the contribution of this tap of the kernel, if it exists, to `result`."""
    if z >= 0 and z < K and y >= 0 and y < K and x >= 0 and x < K:
        result += value * tl.load(weights + ((z * K + y) * K + x) * C + c)[None, :]
    return result


@triton.jit(do_not_specialize=["programs", "planes"])
def depthwise_up(
    x,
    weights,
    out,
    partials,
    programs,
    planes,
    Z,
    Y,
    X,
    C: tl.constexpr,
    K: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_Y: tl.constexpr,
    BLOCK_X: tl.constexpr,
):
    """A column of `planes` planes of `x`: each load serves the voxels of all parities around it.

    Output `2 s + odd` takes input `s + d` with tap `odd + K // 2 - 2 d`.
    """
    P: tl.constexpr = K // 2
    tiles_x, tiles_y = tl.cdiv(X, BLOCK_X), tl.cdiv(Y, BLOCK_Y)
    tile = tl.program_id(0)
    first = tile // (tiles_x * tiles_y) * planes
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    n = tl.program_id(2).to(tl.int64)
    x += n * Z * Y * X * C
    out += n * 8 * Z * Y * X * C
    voxel = tl.arange(0, BLOCK_Y * BLOCK_X)
    ys = tile // tiles_x % tiles_y * BLOCK_Y + voxel // BLOCK_X
    xs = tile % tiles_x * BLOCK_X + voxel % BLOCK_X
    offsets = ((ys * X + xs) * C)[:, None] + c[None, :]
    image = (Z * Y * X).to(tl.int64) * C

    pivots = tl.zeros((BLOCK_Y * BLOCK_X, BLOCK_C), tl.float32)
    totals = tl.zeros((BLOCK_Y * BLOCK_X, BLOCK_C), tl.float32)
    squares = tl.zeros((BLOCK_Y * BLOCK_X, BLOCK_C), tl.float32)
    counts = tl.zeros((BLOCK_Y * BLOCK_X,), tl.float32)
    for z in range(first, tl.minimum(first + planes, Z)):
        plane = z * (Y * X * C)
        results = (tl.zeros((BLOCK_Y * BLOCK_X, BLOCK_C), tl.float32),) * 8
        for dz in tl.static_range(-(P // 2), (P + 1) // 2 + 1):
            for dy in tl.static_range(-(P // 2), (P + 1) // 2 + 1):
                inside_zy = (z + dz >= 0) & (z + dz < Z) & (ys + dy >= 0) & (ys + dy < Y)
                for dx in tl.static_range(-(P // 2), (P + 1) // 2 + 1):
                    inside = (inside_zy & (xs + dx >= 0) & (xs + dx < X))[:, None]
                    shift = ((dz * Y + dy) * X + dx) * C
                    value = tl.load(x + plane + shift + offsets, mask=inside, other=0.0).to(tl.float32)
                    for parity in tl.static_range(8):
                        more = _with_tap(
                            results[parity],
                            value,
                            weights,
                            c,
                            parity // 4 + P - 2 * dz,
                            parity // 2 % 2 + P - 2 * dy,
                            parity % 2 + P - 2 * dx,
                            C,
                            K,
                        )
                        results = results[:parity] + (more,) + results[parity + 1 :]
        there = (ys < Y) & (xs < X)
        pivots = tl.where(z == first, results[0], pivots)
        for parity in tl.static_range(8):
            result = results[parity]
            place = out + parity * image + plane + offsets
            tl.store(place, result.to(out.dtype.element_ty), mask=there[:, None])
            exists = (z + parity // 4 < Z) & (ys + parity // 2 % 2 < Y) & (xs + parity % 2 < X)
            distances = tl.where(exists[:, None], result - pivots, 0.0)
            totals += distances
            squares += distances * distances
            counts += exists.to(tl.float32)
    write_statistics(partials, n * programs + tile, c, C, voxel, counts, pivots, totals, squares)
