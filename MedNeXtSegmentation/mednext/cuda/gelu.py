"""GELU(x) = x * Phi(x) with the normal distribution Phi, not its tanh approximation."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def gelu(x, EXACT: tl.constexpr):
    """By erf, or by a polynomial whose error is far below what half precision can hold.

    Phi(x) - 1/2 = x * P(x^2) for |x| <= 4.25, fitted so that GELU is right to 1.1e-5 * max(1, |x|); half
    precision rounds to 2.4e-4 (fp16) and 2e-3 (bf16) of a value. It costs a third of erf.
    """
    if EXACT:
        return 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))
    square = tl.minimum(x * x, 18.0625)
    p = square * 5.30835116e-11 - 5.12118218e-09
    p = p * square + 2.18620726e-07
    p = p * square - 5.50158122e-06
    p = p * square + 9.21098543e-05
    p = p * square - 0.00110053459
    p = p * square + 0.00978854018
    p = p * square - 0.06629845
    p = p * square + 0.398874944
    return x * tl.clamp(p * x + 0.5, 0.0, 1.0)
