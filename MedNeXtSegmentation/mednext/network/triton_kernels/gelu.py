"""GELU(x) = x * Phi(x) with the normal distribution Phi, not its tanh approximation."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def gelu(x, EXACT: tl.constexpr):
    """By erf, or by a polynomial whose error is far below the rounding of half precision.

    Phi(x) - 1/2 = x * P(x^2) for |x| <= 4, fitted so that the error of GELU is below 3.2e-5 * max(1, |x|);
    half precision rounds to 2.4e-4 (fp16) and 2e-3 (bf16) of a value. It costs a third of erf.
    """
    if EXACT:
        return 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))
    square = tl.minimum(x * x, 16.0)
    p = square * -1.50647101e-09 + 1.17005001e-07
    p = p * square - 3.98004915e-06
    p = p * square + 7.90571635e-05
    p = p * square - 1.03637184e-03
    p = p * square + 9.61807177e-03
    p = p * square - 6.60863971e-02
    p = p * square + 3.98788345e-01
    return x * tl.clamp(p * x + 0.5, 0.0, 1.0)
