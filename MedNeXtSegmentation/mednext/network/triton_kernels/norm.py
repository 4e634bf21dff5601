"""The channelwise norm as a scale and a shift per channel, from the statistics of the first pass."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["programs"])
def norm_affine(
    partials,
    gamma,
    beta,
    affine,
    programs,
    epsilon,
    C: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    """Merge `partials`, `(N, programs, 3, C)`, in a fixed order into `affine`, `(N, 2, C)`: scale and shift.

    After Chan et al.: the squared deviations of the parts, and of their means from the mean. Means are
    relative to the first part's, so that a mean far from zero loses no digits.
    """
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    n = tl.program_id(1).to(tl.int64)
    partials += n * programs * (3 * C)
    pivot = tl.load(partials + C + c)
    counts = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    totals = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    squares = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    for start in range(0, programs, BLOCK_P):
        program = start + tl.arange(0, BLOCK_P)
        there = (program < programs)[:, None]
        place = partials + (program * (3 * C))[:, None] + c[None, :]
        count = tl.load(place, mask=there, other=0.0)
        distance = tl.load(place + C, mask=there & (count > 0), other=0.0) - pivot[None, :]
        distance = tl.where(count > 0, distance, 0.0)
        counts += count
        totals += count * distance
        squares += tl.load(place + 2 * C, mask=there, other=0.0) + count * distance * distance
    count = tl.sum(counts, axis=0)
    offset = tl.sum(totals, axis=0) / count
    variance = tl.maximum(tl.sum(squares, axis=0) / count - offset * offset, 0.0)
    scale = tl.load(gamma + c) / tl.sqrt(variance + epsilon)
    tl.store(affine + n * (2 * C) + c, scale)
    tl.store(affine + n * (2 * C) + C + c, tl.load(beta + c) - (pivot + offset) * scale)
