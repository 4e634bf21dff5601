// GELU(x) = x * Phi(x) where the result is stored as bfloat16, by a table in registers.
//
// A parabola for each of 29 parts of [-3.625, 3.625], and 0 or x beyond. The error is at most 1.5e-4 * max(1, |x|);
// bfloat16 rounds to 2e-3 of the value. Needs AVX-512 DQ.
#pragma once

namespace {

constexpr float GELU_WIDTH = 0.25f;  // of a part; parts are centred at its multiples

// The highest power first; parts 0 to 15, then -16 (never used) to -1.
alignas(64) constexpr float GELU_PARTS[3][32] = {
    {0.397905707f, 0.373466164f, 0.307395875f, 0.216348931f, 0.121377155f, 0.0406204797f, -0.0154865813f,
     -0.0452700332f, -0.0536969341f, -0.0484509245f, -0.0372372121f, -0.0253520738f, -0.015590556f, -0.00875551905f,
     -0.00452103093f, 0.0f, 0.0f, 0.0f, -0.00452103093f, -0.00875551905f, -0.015590556f, -0.0253520738f,
     -0.0372372121f, -0.0484509245f, -0.0536969341f, -0.0452700332f, -0.0154865813f, 0.0406204797f, 0.121377155f,
     0.216348931f, 0.307395875f, 0.373466164f},
    {0.5f, 0.50789988f, 0.558813691f, 0.67318964f, 0.839145958f, 1.02002454f, 1.17326474f, 1.26909399f, 1.30001891f,
     1.2773658f, 1.22398901f, 1.16163766f, 1.10561883f, 1.06301284f, 1.03451836f, 1.0f, 0.0f, 0.0f,
     -0.0345183201f, -0.0630128831f, -0.105618812f, -0.161637664f, -0.223989025f, -0.277365863f, -0.300018936f,
     -0.26909399f, -0.173264712f, -0.0200245474f, 0.160854071f, 0.32681039f, 0.441186279f, 0.49210012f},
    {2.02238425e-06f, -0.000636545883f, -0.0105225323f, -0.046558708f, -0.119179569f, -0.220564485f, -0.325265259f,
     -0.402380258f, -0.430750996f, -0.406295896f, -0.342764199f, -0.260972708f, -0.180590883f, -0.114186823f,
     -0.0662455335f, 0.0f, 0.0f, 0.0f, -0.0662455335f, -0.114186823f, -0.180590883f, -0.260972708f,
     -0.342764199f, -0.406295896f, -0.430750996f, -0.402380258f, -0.325265259f, -0.220564485f, -0.119179569f,
     -0.046558708f, -0.0105225323f, -0.000636545883f},
};

inline Vec gelu(Vec x) {
    const __m512 near = _mm512_range_ps(x.v, _mm512_set1_ps(15.4f * GELU_WIDTH), 0b0010);  // x, with |x| limited
    // The last bits of the sum are the number of the part, modulo 32.
    const __m512 sum = _mm512_add_ps(near, _mm512_set1_ps(12582912.0f * GELU_WIDTH));
    const auto coefficient = [&](int power) {
        const float* of_parts = GELU_PARTS[2 - power];
        return _mm512_permutex2var_ps(_mm512_load_ps(of_parts), _mm512_castps_si512(sum), _mm512_load_ps(of_parts + 16));
    };
    const __m512 p = _mm512_fmadd_ps(coefficient(2), x.v, coefficient(1));
    return {_mm512_fmadd_ps(p, x.v, coefficient(0))};
}

}  // namespace
