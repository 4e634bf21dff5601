"""The first pass of a block that keeps or halves the grid: depthwise convolution, and its statistics.

Activations are `(N, Z, Y, X, C)`; weights `(k, k, k, C)` float32. Sums are float32. Each program writes its
number of voxels, and per channel their mean and squared deviation, to `partials`, `(N, programs, 3, C)`, so
that the result does not depend on the order of the programs.

The bias is omitted, since the following norm cancels it.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def write_statistics(partials, program, c, C: tl.constexpr, voxel, counts, pivots, totals, squares):
    """Merge the statistics of each place of a program's tile (Chan et al.), and write them.

    Args:
        counts: number of values at each place, `(places,)`.
        pivots: the first of them, `(places, channels)`.
        totals, squares: sums of the distances from it, and of their squares.
    """
    base = tl.sum(tl.where((voxel == 0)[:, None], pivots, 0.0), axis=0)
    seen = tl.maximum(counts, 1.0)[:, None]
    offsets = tl.where(counts[:, None] > 0, pivots - base[None, :] + totals / seen, 0.0)
    count = tl.sum(counts, axis=0)
    mean = tl.sum(offsets * counts[:, None], axis=0) / tl.maximum(count, 1.0)
    distances = offsets - mean[None, :]
    deviation = tl.sum(squares - totals * totals / seen + counts[:, None] * distances * distances, axis=0)
    place = partials + program * (3 * C) + c
    tl.store(place, tl.zeros_like(mean) + count)
    tl.store(place + C, base + mean)
    tl.store(place + 2 * C, deviation)


# Unspecialised arguments do not need a new compilation for every size of the grid.
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
    """Stride 1: a column of `planes` planes; each load serves K planes of the output.

    A thread holds `ROWS` neighbouring rows, and K planes of each: `sums[dz * ROWS + row]` collects the output
    of plane `z + K // 2 - dz` while plane z is read.

    Args:
        EVEN: no column reaches beyond the grid in y or x, which saves a tenth of the instructions.
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

    counts = tl.zeros((BLOCK_Y * BLOCK_X,), tl.float32)
    pivots = tl.zeros((BLOCK_Y * BLOCK_X, BLOCK_C), tl.float32)
    totals = tl.zeros((BLOCK_Y * BLOCK_X, BLOCK_C), tl.float32)
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
        if (finished >= first) & (finished < Z):
            pivots = tl.where(finished == first, sums[(K - 1) * ROWS], pivots)
            for row in tl.static_range(ROWS):
                result = sums[(K - 1) * ROWS + row]
                place = out + (finished * Y + row) * (X * C) + offsets
                distances = result - pivots
                if EVEN:
                    tl.store(place, result.to(out.dtype.element_ty))
                    counts += 1.0
                else:
                    there = (xs < X) & (ys + row < Y)
                    tl.store(place, result.to(out.dtype.element_ty), mask=there[:, None])
                    distances = tl.where(there[:, None], distances, 0.0)
                    counts += there.to(tl.float32)
                totals += distances
                squares += distances * distances
        sums = (tl.zeros((BLOCK_Y * BLOCK_X, BLOCK_C), tl.float32),) * ROWS + sums[: (K - 1) * ROWS]
    write_statistics(partials, n * programs + tile, c, C, voxel, counts, pivots, totals, squares)


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
    begin = tl.program_id(0) * (BLOCK_V * rounds)
    pivots = tl.zeros((BLOCK_V, BLOCK_C), tl.float32)
    totals = tl.zeros((BLOCK_V, BLOCK_C), tl.float32)
    squares = tl.zeros((BLOCK_V, BLOCK_C), tl.float32)
    for piece in range(rounds):
        voxel = begin + piece * BLOCK_V + tl.arange(0, BLOCK_V)
        there = voxel < voxels
        zs, ys, xs = voxel // (half_y * half_x) * 2, voxel // half_x % half_y * 2, voxel % half_x * 2
        offsets = (((zs * Y + ys) * X + xs) * C)[:, None] + c[None, :]
        result = tl.zeros((BLOCK_V, BLOCK_C), tl.float32)
        for line in range(K * K):  # one loop needs fewer registers than two
            dz, dy = line // K, line % K
            inside_zy = there & (zs + (dz - P) >= 0) & (zs + (dz - P) < Z)
            inside_zy &= (ys + (dy - P) >= 0) & (ys + (dy - P) < Y)
            for dx in tl.static_range(K):
                inside = (inside_zy & (xs + (dx - P) >= 0) & (xs + (dx - P) < X))[:, None]
                shift = (((dz - P) * Y + (dy - P)) * X + (dx - P)) * C
                value = tl.load(x + shift + offsets, mask=inside, other=0.0).to(tl.float32)
                result += value * tl.load(weights + (line * K + dx) * C + c)[None, :]
        place = out + voxel[:, None] * C + c[None, :]
        tl.store(place, result.to(out.dtype.element_ty), mask=there[:, None])
        pivots = tl.where(piece == 0, result, pivots)
        distances = tl.where(there[:, None], result - pivots, 0.0)
        totals += distances
        squares += distances * distances
    place = tl.arange(0, BLOCK_V)
    counts = tl.clamp((tl.cdiv(voxels - begin - place, BLOCK_V)).to(tl.float32), 0.0, rounds.to(tl.float32))
    program = n * programs + tl.program_id(0)
    write_statistics(partials, program, c, C, place, counts, pivots, totals, squares)
