// Four floats: NEON on 64-bit ARM.
#include <arm_neon.h>

namespace {

struct Vec {
    static constexpr int lanes = 4;
    float32x4_t v;
    static Vec load(const float* p) { return {vld1q_f32(p)}; }
    static Vec all(float x) { return {vdupq_n_f32(x)}; }
    void store(float* p) const { vst1q_f32(p, v); }
};

inline Vec fma(Vec a, Vec b, Vec c) { return {vfmaq_f32(c.v, a.v, b.v)}; }
inline Vec operator+(Vec a, Vec b) { return {vaddq_f32(a.v, b.v)}; }
inline Vec operator-(Vec a, Vec b) { return {vsubq_f32(a.v, b.v)}; }
inline Vec operator*(Vec a, Vec b) { return {vmulq_f32(a.v, b.v)}; }
inline Vec smaller(Vec a, Vec b) { return {vminq_f32(a.v, b.v)}; }
inline Vec larger(Vec a, Vec b) { return {vmaxq_f32(a.v, b.v)}; }

constexpr int ROWS = 6, VECTORS = 4;  // registers of one GEMM tile: 24 sums, 4 weights, 1 input of 32
constexpr int POSITIONS = 16;         // outputs of one depthwise row that are in registers

}  // namespace
