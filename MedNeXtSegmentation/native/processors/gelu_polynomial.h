// GELU(x) = x * Phi(x), by a polynomial in x^2.
//
// Phi(x) - 1/2 = x * P(2 x^2 / 25 - 1) for |x| <= 5, fitted so that the error of GELU is at most 2.7e-7 * max(1, |x|) in
// float32; beyond, Phi is clamped to 0 and 1.
#pragma once

namespace {

inline Vec gelu(Vec x) {
    constexpr float coefficients[] = {
        0.000608346309f, -0.00161295454f, 0.00172372628f, -0.0026862924f, 0.0064096828f,
        -0.011163746f,   0.0164025053f,   -0.0232688636f, 0.0314421132f,  -0.0404425785f,
        0.0515205264f,   -0.0702962801f,  0.141363785f,
    };
    const Vec square = smaller(x * x, Vec::all(25.0f));
    const Vec u = fma(square, Vec::all(2.0f / 25.0f), Vec::all(-1.0f));
    Vec p = Vec::all(coefficients[0]);
    for (int i = 1; i < 13; ++i) p = fma(p, u, Vec::all(coefficients[i]));
    const Vec phi = fma(p, x, Vec::all(0.5f));
    return x * smaller(larger(phi, Vec::all(0.0f)), Vec::all(1.0f));
}

}  // namespace
