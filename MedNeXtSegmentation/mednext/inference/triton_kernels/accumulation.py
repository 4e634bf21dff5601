"""Mirrored copies to the mean of a tile, and tiles to the sums of an image, each in one pass over memory.

Everything is float32 and added in a fixed order.
"""

from __future__ import annotations

import triton
import triton.language as tl


# Nothing is specialised: for no size of the image is anything compiled anew.
@triton.jit(
    do_not_specialize=["copies", "flips", "first", "divisor", "classes", "Z", "Y", "X"],
)
def copies_to_mean(
    logits,
    mean,
    overflowed,
    copies,
    flips,
    first,
    divisor,
    classes,
    Z,
    Y,
    X,
    LOGITS: tl.constexpr,
    PROBABILITIES: tl.constexpr,
    REGIONS: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_V: tl.constexpr,
):
    """`logits` `(copies, classes, Z, Y, X)`, each mirrored back along z, y, x by three bits of `flips`.

    A program has all classes of its voxels. `mean` is `(LOGITS + PROBABILITIES) * classes` channels wide.
    """
    voxels = Z * Y * X
    voxel = tl.program_id(0) * BLOCK_V + tl.arange(0, BLOCK_V)
    z, y, x = voxel // (Y * X), voxel // X % Y, voxel % X
    k = tl.arange(0, BLOCK_K)
    known = (k < classes)[:, None]
    there = known & (voxel < voxels)[None, :]
    planes = k[:, None] * voxels
    target = mean + planes + voxel[None, :]
    begun = there & (first == 0)
    if LOGITS:
        sums = tl.load(target, mask=begun, other=0.0)
        target += classes.to(tl.int64) * voxels
    else:
        sums = tl.zeros((BLOCK_K, BLOCK_V), tl.float32)
    if PROBABILITIES:
        likely = tl.load(target, mask=begun, other=0.0)
    for _ in range(copies):
        from_z = tl.where(flips & 1 != 0, Z - 1 - z, z)
        from_y = tl.where(flips & 2 != 0, Y - 1 - y, y)
        from_x = tl.where(flips & 4 != 0, X - 1 - x, x)
        place = (from_z * Y + from_y) * X + from_x
        values = tl.load(logits + planes + place[None, :], mask=there, other=0.0)
        sums += values
        if PROBABILITIES:
            if REGIONS:
                likely += tl.sigmoid(values)
            else:
                values = tl.where(known, values, float("-inf"))
                powers = tl.exp(values - tl.max(values, axis=0)[None, :])
                likely += powers / tl.sum(powers, axis=0)[None, :]
        flips = flips >> 3
        logits += classes.to(tl.int64) * voxels
    # A finite sum has only finite parts; no comparison with NaN is true.
    wrong = tl.max(tl.max((~(tl.abs(sums) < float("inf"))).to(tl.int32), axis=0), axis=0)
    tl.store(overflowed, 1, mask=wrong != 0)
    if LOGITS:
        tl.store(mean + planes + voxel[None, :], tl.div_rn(sums, divisor), mask=there)
    if PROBABILITIES:
        tl.store(target, tl.div_rn(likely, divisor), mask=there)


@triton.jit(
    do_not_specialize=[
        "stride_k", "stride_z", "stride_y", "stride_x", "in_z", "in_y", "in_x", "Z", "Y", "X",
        "out_z", "out_y", "out_x", "depth", "height", "width",
    ],
)  # fmt: skip
def tile_to_sums(
    tile,
    sums,
    share_z,
    share_y,
    share_x,
    stride_k,
    stride_z,
    stride_y,
    stride_x,
    in_z,
    in_y,
    in_x,
    Z,
    Y,
    X,
    out_z,
    out_y,
    out_x,
    depth,
    height,
    width,
    BLOCK: tl.constexpr,
):
    """`sums` `(K, Z, Y, X)` += a box of the tile times its weights; it begins at `in_...` and `out_...`."""
    k = tl.program_id(1).to(tl.int64)
    voxel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = voxel < depth * height * width
    z, y, x = voxel // (height * width), voxel // width % height, voxel % width
    weight = tl.load(share_z + in_z + z, mask=there, other=0.0)
    weight *= tl.load(share_y + in_y + y, mask=there, other=0.0)
    weight *= tl.load(share_x + in_x + x, mask=there, other=0.0)
    tile += k * stride_k + (in_z + z) * stride_z + (in_y + y) * stride_y + (in_x + x) * stride_x
    place = ((out_z + z).to(tl.int64) * Y + out_y + y) * X + out_x + x
    sums += k * Z * Y * X + place
    more = tl.load(tile, mask=there, other=0.0) * weight
    tl.store(sums, tl.load(sums, mask=there, other=0.0) + more, mask=there)
