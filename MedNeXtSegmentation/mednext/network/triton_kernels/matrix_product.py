"""Matrix products on the tensor cores."""

from __future__ import annotations

import triton
import triton.language as tl

from .tile_sizes import INTERPRETED

_WIDEN = tl.constexpr(INTERPRETED)  # the interpreter mistakes the bits of bfloat16 for integers


@triton.jit
def product(a, b, sums):
    """`sums + a @ b` in float32; float32 operands are not rounded to fewer digits."""
    if _WIDEN:
        return tl.dot(a.to(tl.float32), b.to(tl.float32), sums, input_precision="ieee")
    return tl.dot(a, b, sums, input_precision="ieee")
