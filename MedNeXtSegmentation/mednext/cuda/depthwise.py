"""The first pass of a block that keeps or halves the grid: depthwise convolution, and its statistics.

Activations are `(N, Z, Y, X, C)`; weights `(k, k, k, C)` float32. Sums are float32. Each program writes how
many voxels it saw, and per channel their mean and squared deviation, to `partials`, `(N, programs, 3, C)`, so
that the result does not depend on who comes first.

The bias is left out: the norm that follows takes it away.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def write_partials(partials, program, c, C: tl.constexpr, count, mean, squares):
    tl.store(partials + program * (3 * C) + c, tl.zeros_like(mean) + count)
    tl.store(partials + program * (3 * C) + C + c, mean)
    tl.store(partials + program * (3 * C) + 2 * C + c, squares)


@triton.jit
def _merged(count, mean, squares, result, there):
    """The statistics so far, and with those of a piece `(voxels, channels)` (Chan et al.)."""
    more = tl.sum(there.to(tl.float32), axis=0)
    its_mean = tl.sum(tl.where(there[:, None], result, 0.0), axis=0) / tl.maximum(more, 1.0)
    distance = tl.where(there[:, None], result - its_mean[None, :], 0.0)
    both = tl.maximum(count + more, 1.0)
    offset = its_mean - mean
    squares += tl.sum(distance * distance, axis=0) + offset * offset * (count * more / both)
    return count + more, mean + offset * (more / both), squares


# What is not specialised is not compiled anew for every size of the grid.
@triton.jit(do_not_specialize=["programs", "planes"])
def depthwise_same(
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
    ROWS: tl.constexpr,
    UNROLL: tl.constexpr,
    EVEN: tl.constexpr,
):
    """Stride 1: a column of `planes` planes; what is loaded once serves K planes of the output.

    A thread holds `ROWS` neighbouring rows, and K planes of each: `sums[dz * ROWS + row]` collects the output
    of plane `z + K // 2 - dz` while plane z is read. Statistics are of the distance from the first voxel.

    Args:
        EVEN: no column reaches beyond the grid in y or x, which spares a tenth of the instructions.
    """
    P: tl.constexpr = K // 2
    tiles_x = tl.cdiv(X, BLOCK_X)
    tiles_y = tl.cdiv(Y, BLOCK_Y * ROWS)
    tile = tl.program_id(0)
    first = tile // (tiles_x * tiles_y) * planes
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    n = tl.program_id(2).to(tl.int64)
    x += n * Z * Y * X * C
    out += n * Z * Y * X * C
    voxel = tl.arange(0, BLOCK_Y * BLOCK_X)
    ys = (tile // tiles_x % tiles_y * BLOCK_Y + voxel // BLOCK_X) * ROWS
    xs = tile % tiles_x * BLOCK_X + voxel % BLOCK_X
    offsets = ((ys * X + xs) * C)[:, None] + c[None, :]

    pivot = tl.zeros((BLOCK_C,), tl.float32)
    total = tl.zeros((BLOCK_Y * BLOCK_X, BLOCK_C), tl.float32)
    squares = tl.zeros((BLOCK_Y * BLOCK_X, BLOCK_C), tl.float32)
    sums = (tl.zeros((BLOCK_Y * BLOCK_X, BLOCK_C), tl.float32),) * (K * ROWS)
    for step in range(planes + (K - 1)):
        z = first - P + step
        plane = x + z * (Y * X * C)
        for dx in tl.range(0, K, loop_unroll_factor=UNROLL):
            inside_x = (xs + (dx - P) >= 0) & (xs + (dx - P) < X) & (z >= 0) & (z < Z)
            for dy in tl.static_range(ROWS + K - 1):
                inside = inside_x
                if not EVEN or dy < P or dy >= ROWS + P:
                    inside &= (ys + (dy - P) >= 0) & (ys + (dy - P) < Y)
                shift = ((dy - P) * X + (dx - P)) * C
                value = tl.load(plane + shift + offsets, mask=inside[:, None], other=0.0).to(tl.float32)
                for row in tl.static_range(ROWS):
                    if dy - row >= 0 and dy - row < K:
                        for dz in tl.static_range(K):
                            weight = tl.load(weights + ((dz * K + dy - row) * K + dx) * C + c)
                            more = sums[dz * ROWS + row] + value * weight[None, :]
                            sums = sums[: dz * ROWS + row] + (more,) + sums[dz * ROWS + row + 1 :]
        finished = z - P
        if step == K - 1:
            pivot = tl.sum(tl.where((voxel == 0)[:, None], sums[(K - 1) * ROWS], 0.0), axis=0)
        if (finished >= first) & (finished < Z):
            for row in tl.static_range(ROWS):
                result = sums[(K - 1) * ROWS + row]
                place = out + (finished * Y + row) * (X * C) + offsets
                distance = result - pivot[None, :]
                if EVEN:
                    tl.store(place, result.to(out.dtype.element_ty))
                else:
                    there = ((xs < X) & (ys + row < Y))[:, None]
                    tl.store(place, result.to(out.dtype.element_ty), mask=there)
                    distance = tl.where(there, distance, 0.0)
                total += distance
                squares += distance * distance
        sums = (tl.zeros((BLOCK_Y * BLOCK_X, BLOCK_C), tl.float32),) * ROWS + sums[: (K - 1) * ROWS]
    width = tl.minimum(BLOCK_X, X - tile % tiles_x * BLOCK_X)
    height = tl.minimum(BLOCK_Y * ROWS, Y - tile // tiles_x % tiles_y * (BLOCK_Y * ROWS))
    count = (width * height * tl.minimum(planes, Z - first)).to(tl.float32)
    mean = tl.sum(total, axis=0) / count
    deviation = tl.sum(squares, axis=0) - count * mean * mean
    write_partials(partials, n * programs + tile, c, C, count, pivot + mean, deviation)


@triton.jit(do_not_specialize=["programs", "rounds"])
def depthwise_down(
    x,
    weights,
    out,
    partials,
    programs,
    rounds,
    Z,
    Y,
    X,
    C: tl.constexpr,
    K: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_V: tl.constexpr,
):
    """Stride 2: `x` is `(N, Z, Y, X, C)`, `out` half as wide, rounded up; a program does `rounds` pieces."""
    P: tl.constexpr = K // 2
    half_y, half_x = (Y + 1) // 2, (X + 1) // 2
    voxels = (Z + 1) // 2 * half_y * half_x
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    n = tl.program_id(2).to(tl.int64)
    x += n * Z * Y * X * C
    out += n * voxels * C
    start = tl.program_id(0) * (BLOCK_V * rounds)
    count = 0.0
    mean = tl.zeros((BLOCK_C,), tl.float32)
    squares = tl.zeros((BLOCK_C,), tl.float32)
    for _ in range(rounds):
        voxel = start + tl.arange(0, BLOCK_V)
        there = voxel < voxels
        zs, ys, xs = voxel // (half_y * half_x) * 2, voxel // half_x % half_y * 2, voxel % half_x * 2
        offsets = (((zs * Y + ys) * X + xs) * C)[:, None] + c[None, :]
        result = tl.zeros((BLOCK_V, BLOCK_C), tl.float32)
        for dz in range(K):
            for dy in range(K):
                inside_zy = there & (zs + (dz - P) >= 0) & (zs + (dz - P) < Z)
                inside_zy &= (ys + (dy - P) >= 0) & (ys + (dy - P) < Y)
                for dx in tl.static_range(K):
                    inside = (inside_zy & (xs + (dx - P) >= 0) & (xs + (dx - P) < X))[:, None]
                    shift = (((dz - P) * Y + (dy - P)) * X + (dx - P)) * C
                    value = tl.load(x + shift + offsets, mask=inside, other=0.0).to(tl.float32)
                    result += value * tl.load(weights + ((dz * K + dy) * K + dx) * C + c)[None, :]
        place = out + voxel[:, None] * C + c[None, :]
        tl.store(place, result.to(out.dtype.element_ty), mask=there[:, None])
        count, mean, squares = _merged(count, mean, squares, result, there)
        start += BLOCK_V
    write_partials(partials, n * programs + tl.program_id(0), c, C, count, mean, squares)
