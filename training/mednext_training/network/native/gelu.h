// GELU(x) = x * Phi(x) and its derivative, of vectors.
#pragma once

#include "vector.h"

struct Gelu {
    Vec value, slope;
};

namespace {

using Ints = int32_t __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

// exp(x) for -80 <= x <= 0: 2^n times a polynomial of the rest, as in Cephes.
inline Vec exp_of_negative(Vec x) {
    constexpr float magic = 12582912.0f;  // adding it rounds to a whole number
    const Vec n = (x * 1.44269504f + magic) - magic;
    const Vec rest = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    Vec p = rest * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * rest + 8.3334519073e-3f;
    p = p * rest + 4.1665795894e-2f;
    p = p * rest + 1.6666665459e-1f;
    p = p * rest + 5.0000001201e-1f;
    p = p * rest * rest + rest + 1.0f;
    return (Vec)((Ints)p + (__builtin_convertvector(n, Ints) << 23));
}

}  // namespace

// Phi to 1e-7: Abramowitz and Stegun, 7.1.26.
inline Gelu gelu(Vec x) {
    const Vec size = (Vec)((Ints)x & 0x7fffffff);
    const Vec exponent = -0.5f * x * x;
    const Vec limit = exponent * 0.0f - 80.0f;  // the rest of NaN is NaN
    const Vec bell = exp_of_negative(exponent > -80.0f ? exponent : limit);
    const Vec t = 1.0f / (size * (0.3275911f * 0.70710678f) + 1.0f);
    Vec tail = t * 1.061405429f - 1.453152027f;
    tail = tail * t + 1.421413741f;
    tail = tail * t - 0.284496736f;
    tail = (tail * t + 0.254829592f) * t * 0.5f * bell;
    const Vec phi = x > 0.0f ? 1.0f - tail : tail;
    return {x * phi, phi + x * bell * 0.39894228f};
}
