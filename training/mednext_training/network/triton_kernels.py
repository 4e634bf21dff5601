"""Triton kernels for a training step: transposed convolution, gradient of the kernel, channelwise norm.

Activations are `(N, Z, Y, X, C)`, weights `(k, k, k, C)` float32; all sums are float32. Sums of many
programs go into partial sums that are added in a fixed order: the same input gives the same bits. The
convolutions that gather are those of `mednext.network.triton_kernels.depthwise`.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _transposed_result(
    x, weights, zs, ys, xs, there, odd_z, odd_y, odd_x, Z, Y, X, c, C: tl.constexpr, K: tl.constexpr
):
    """The transposed convolution at the voxels `2 (zs, ys, xs) + (odd_z, odd_y, odd_x)` of its 2n-1 grid.

    Output o takes input i with tap `t = o + K // 2 - 2i`: every second tap, beginning with the first of the
    right parity. The taps of one parity are the same for all voxels, and so are the weights.
    """
    P: tl.constexpr = K // 2
    first_z, first_y, first_x = (odd_z + P) % 2, (odd_y + P) % 2, (odd_x + P) % 2
    offsets = (((zs * Y + ys) * X + xs) * C)[:, None] + c[None, :]
    result = tl.zeros((zs.shape[0], c.shape[0]), tl.float32)
    for tap_z in range(first_z, K, 2):
        dz = (odd_z + P - tap_z) // 2  # exact: both have the same parity
        for tap_y in range(first_y, K, 2):
            dy = (odd_y + P - tap_y) // 2
            inside_zy = there & (zs + dz >= 0) & (zs + dz < Z) & (ys + dy >= 0) & (ys + dy < Y)
            for step in tl.static_range((K + 1) // 2):
                tap_x = first_x + 2 * step
                dx = (odd_x + P - tap_x) // 2
                inside = (inside_zy & (xs + dx >= 0) & (xs + dx < X) & (tap_x < K))[:, None]
                shift = ((dz * Y + dy) * X + dx) * C
                value = tl.load(x + shift + offsets, mask=inside, other=0.0).to(tl.float32)
                tap = (tap_z * K + tap_y) * K + tl.minimum(tap_x, K - 1)
                result += value * tl.load(weights + tap * C + c)[None, :]
    return result


@triton.jit
def depthwise_scatter(
    small,
    weights,
    large,
    SZ,
    SY,
    SX,
    LZ,
    LY,
    LX,
    C: tl.constexpr,
    K: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_V: tl.constexpr,
):
    """Transposed with stride 2: voxel `2s + t - k//2` of `large` is the sum of `weights[t] * small[s]`.

    `large` has 2n-1 or 2n voxels along an axis. A program has voxels of one parity: they share their taps.
    """
    n = tl.program_id(2).to(tl.int64)
    small += n * SZ * SY * SX * C
    large += n * LZ * LY * LX * C
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    block, parity = tl.program_id(0) // 8, tl.program_id(0) % 8
    odd_z, odd_y, odd_x = parity // 4, parity // 2 % 2, parity % 2
    side_z, side_y, side_x = (LZ + 1 - odd_z) // 2, (LY + 1 - odd_y) // 2, (LX + 1 - odd_x) // 2
    voxel = block * BLOCK_V + tl.arange(0, BLOCK_V)
    there = voxel < side_z * side_y * side_x
    width, height = tl.maximum(side_x, 1), tl.maximum(side_y, 1)
    zs, ys, xs = voxel // (height * width), voxel // width % height, voxel % width
    result = _transposed_result(small, weights, zs, ys, xs, there, odd_z, odd_y, odd_x, SZ, SY, SX, c, C, K)
    place = ((2 * zs + odd_z) * LY + 2 * ys + odd_y) * LX + 2 * xs + odd_x
    tl.store(large + place[:, None] * C + c[None, :], result.to(large.dtype.element_ty), mask=there[:, None])


@triton.jit(do_not_specialize=["programs", "planes"])
def depthwise_kernel_gradient(
    large,
    small,
    partials,
    programs,
    planes,
    LZ,
    LY,
    LX,
    SZ,
    SY,
    SX,
    C: tl.constexpr,
    K: tl.constexpr,
    STRIDE: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_Y: tl.constexpr,
    BLOCK_X: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Sums over a column of voxels `s` of `small[s] * large[STRIDE * s + tap - K // 2]`, for K² of the taps.

    Programs that follow each other have the same voxels and another plane of taps: they share the cache. A
    thread has `ROWS` neighbouring rows of `small`, which share the loaded values of `large`. `partials` is
    `(N, programs, K, K, K, C)`.
    """
    P: tl.constexpr = K // 2
    dz, tile = tl.program_id(0) % K, tl.program_id(0) // K
    tiles_x, tiles_y = tl.cdiv(SX, BLOCK_X), tl.cdiv(SY, BLOCK_Y * ROWS)
    first = tile // (tiles_x * tiles_y) * planes
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    n = tl.program_id(2).to(tl.int64)
    large += n * LZ * LY * LX * C
    small += n * SZ * SY * SX * C
    voxel = tl.arange(0, BLOCK_Y * BLOCK_X)
    ys = (tile // tiles_x % tiles_y * BLOCK_Y + voxel // BLOCK_X) * ROWS
    xs = tile % tiles_x * BLOCK_X + voxel % BLOCK_X
    from_small = ((ys * SX + xs) * C)[:, None] + c[None, :]
    from_large = ((ys * LX + xs) * (STRIDE * C))[:, None] + c[None, :]

    sums = (tl.zeros((BLOCK_Y * BLOCK_X, BLOCK_C), tl.float32),) * (K * K)
    for step in range(planes):
        z = first + step
        far = z * STRIDE + dz - P
        near_plane, far_plane = small + z * (SY * SX * C), large + far * (LY * LX * C)
        factors = ()
        for row in tl.static_range(ROWS):
            there = (xs < SX) & (ys + row < SY) & (z < SZ)
            value = tl.load(near_plane + row * SX * C + from_small, mask=there[:, None], other=0.0)
            factors = factors + (value.to(tl.float32),)  # type: ignore[assignment]
        for dx in tl.static_range(K):
            column = xs * STRIDE + (dx - P)
            inside_x = (column >= 0) & (column < LX) & (far >= 0) & (far < LZ)
            for line in tl.static_range(STRIDE * (ROWS - 1) + K):
                y = ys * STRIDE + (line - P)
                inside = (inside_x & (y >= 0) & (y < LY))[:, None]
                shift = ((line - P) * LX + (dx - P)) * C
                value = tl.load(far_plane + shift + from_large, mask=inside, other=0.0).to(tl.float32)
                for row in tl.static_range(ROWS):
                    if line - STRIDE * row >= 0 and line - STRIDE * row < K:
                        # not named: a name for a constant is known once only
                        more = sums[(line - STRIDE * row) * K + dx] + factors[row] * value
                        sums = (
                            sums[: (line - STRIDE * row) * K + dx]
                            + (more,)
                            + sums[(line - STRIDE * row) * K + dx + 1 :]
                        )
    target = partials + ((n * programs + tile) * K + dz) * (K * K * C) + c
    for tap in tl.static_range(K * K):
        tl.store(target + tap * C, tl.sum(sums[tap], axis=0))


@triton.jit(do_not_specialize=["programs", "rounds"])
def channel_moments(
    x,
    partials,
    programs,
    rounds,
    voxels,
    C: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_V: tl.constexpr,
):
    """Of `rounds` pieces of `x`, `(N, voxels, C)`; `norm_affine` merges them."""
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    n = tl.program_id(2).to(tl.int64)
    x += n * voxels * C
    start = tl.program_id(0) * (BLOCK_V * rounds)
    pivot = tl.load(x + start * C + c).to(tl.float32)  # sums around a value of about the right size
    total = tl.zeros((BLOCK_V, BLOCK_C), tl.float32)
    squares = tl.zeros((BLOCK_V, BLOCK_C), tl.float32)
    for step in range(rounds):
        voxel = start + step * BLOCK_V + tl.arange(0, BLOCK_V)
        there = (voxel < voxels)[:, None]
        value = tl.load(x + voxel[:, None] * C + c[None, :], mask=there, other=0.0).to(tl.float32)
        distance = tl.where(there, value - pivot[None, :], 0.0)
        total += distance
        squares += distance * distance
    count = tl.minimum(BLOCK_V * rounds, voxels - start).to(tl.float32)
    mean = tl.sum(total, axis=0) / count
    place = partials + (n * programs + tl.program_id(0)) * (3 * C) + c
    tl.store(place, tl.zeros_like(mean) + count)
    tl.store(place + C, pivot + mean)
    tl.store(place + 2 * C, tl.sum(squares, axis=0) - count * mean * mean)


@triton.jit
def normalise(
    x, affine, gamma, beta, out, voxels, C: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_V: tl.constexpr
):
    """`out = (x * scale + shift) * gamma + beta` with `affine`, `(N, 2, C)`: scale and shift."""
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    n = tl.program_id(2).to(tl.int64)
    voxel = tl.program_id(0) * BLOCK_V + tl.arange(0, BLOCK_V)
    there = (voxel < voxels)[:, None]
    offsets = n * voxels * C + voxel[:, None] * C + c[None, :]
    scale, shift = tl.load(affine + n * (2 * C) + c), tl.load(affine + n * (2 * C) + C + c)
    factor = tl.load(gamma + c)
    value = tl.load(x + offsets, mask=there, other=0.0).to(tl.float32) * (scale * factor)[None, :]
    value += (shift * factor + tl.load(beta + c))[None, :]
    tl.store(out + offsets, value.to(out.dtype.element_ty), mask=there)


@triton.jit(do_not_specialize=["programs", "rounds"])
def normalise_sums(
    x,
    gradient,
    affine,
    partials,
    programs,
    rounds,
    voxels,
    C: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_V: tl.constexpr,
):
    """Of `rounds` pieces, the sums of the gradient and of its products with the normed `x`.

    `partials` is `(N, programs, 2, C)`.
    """
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    n = tl.program_id(2).to(tl.int64)
    x += n * voxels * C
    gradient += n * voxels * C
    scale, shift = tl.load(affine + n * (2 * C) + c), tl.load(affine + n * (2 * C) + C + c)
    start = tl.program_id(0) * (BLOCK_V * rounds)
    total = tl.zeros((BLOCK_V, BLOCK_C), tl.float32)
    products = tl.zeros((BLOCK_V, BLOCK_C), tl.float32)
    for step in range(rounds):
        voxel = start + step * BLOCK_V + tl.arange(0, BLOCK_V)
        there = (voxel < voxels)[:, None]
        offsets = voxel[:, None] * C + c[None, :]
        value = tl.load(x + offsets, mask=there, other=0.0).to(tl.float32)
        slope = tl.load(gradient + offsets, mask=there, other=0.0).to(tl.float32)
        total += slope
        products += slope * (value * scale[None, :] + shift[None, :])
    place = partials + (n * programs + tl.program_id(0)) * (2 * C) + c
    tl.store(place, tl.sum(total, axis=0))
    tl.store(place + C, tl.sum(products, axis=0))


@triton.jit
def normalise_gradient(
    x,
    gradient,
    affine,
    gamma,
    sums,
    out,
    voxels,
    C: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_V: tl.constexpr,
):
    """The gradient of the norm's input; `sums`, `(N, 2, C)`, are those of `normalise_sums`."""
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    n = tl.program_id(2).to(tl.int64)
    voxel = tl.program_id(0) * BLOCK_V + tl.arange(0, BLOCK_V)
    there = (voxel < voxels)[:, None]
    offsets = n * voxels * C + voxel[:, None] * C + c[None, :]
    scale, shift = tl.load(affine + n * (2 * C) + c), tl.load(affine + n * (2 * C) + C + c)
    mean = tl.load(sums + n * (2 * C) + c) / voxels
    product = tl.load(sums + n * (2 * C) + C + c) / voxels
    value = tl.load(x + offsets, mask=there, other=0.0).to(tl.float32) * scale[None, :] + shift[None, :]
    slope = tl.load(gradient + offsets, mask=there, other=0.0).to(tl.float32)
    slope = (slope - mean[None, :] - value * product[None, :]) * (scale * tl.load(gamma + c))[None, :]
    tl.store(out + offsets, slope.to(out.dtype.element_ty), mask=there)
