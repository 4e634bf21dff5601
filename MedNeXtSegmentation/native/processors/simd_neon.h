// Four floats: NEON on 64-bit ARM.
#include <arm_neon.h>

#include "processors/unrolled.h"

namespace {

struct Vec {
    static constexpr int lanes = 4;
    float32x4_t v;
    static Vec load(const float* p) { return {vld1q_f32(p)}; }
    static Vec all(float x) { return {vdupq_n_f32(x)}; }
    void store(float* p) const { vst1q_f32(p, v); }
    void stream(float* p) const { store(p); }  // a part of a cache line is better cached
};

inline Vec fma(Vec a, Vec b, Vec c) { return {vfmaq_f32(c.v, a.v, b.v)}; }
inline Vec operator+(Vec a, Vec b) { return {vaddq_f32(a.v, b.v)}; }
inline Vec operator-(Vec a, Vec b) { return {vsubq_f32(a.v, b.v)}; }
inline Vec operator*(Vec a, Vec b) { return {vmulq_f32(a.v, b.v)}; }
inline Vec operator/(Vec a, Vec b) { return {vdivq_f32(a.v, b.v)}; }
inline Vec smaller(Vec a, Vec b) { return {vminq_f32(a.v, b.v)}; }
inline Vec larger(Vec a, Vec b) { return {vmaxq_f32(a.v, b.v)}; }

// a > b ? yes : no
inline Vec where_greater(Vec a, Vec b, Vec yes, Vec no) { return {vbslq_f32(vcgtq_f32(a.v, b.v), yes.v, no.v)}; }

// Prefetches a cache line. GCC 12 drops a function with nothing else unless it is force-inlined.
#if defined(_MSC_VER) && !defined(__clang__)
ALWAYS_INLINE void fetch(const char* p) { __prefetch(p); }
#else
ALWAYS_INLINE void fetch(const char* p) { __builtin_prefetch(p); }
#endif

// x = mantissa * 2^exponent with a mantissa in [1, 2), for normal numbers.
inline Vec exponent(Vec x) {
    const uint32x4_t biased = vshrq_n_u32(vreinterpretq_u32_f32(x.v), 23);
    return {vcvtq_f32_s32(vsubq_s32(vreinterpretq_s32_u32(biased), vdupq_n_s32(127)))};
}
inline Vec mantissa(Vec x) {
    const uint32x4_t bits = vandq_u32(vreinterpretq_u32_f32(x.v), vdupq_n_u32(0x7fffff));
    return {vreinterpretq_f32_u32(vorrq_u32(bits, vdupq_n_u32(0x3f800000)))};
}

// Picks floats among the 2 * lanes at `p` by their places.
struct Places {
    uint8x16_t v;  // of their bytes
    static Places of(Vec places) {
        const uint32x4_t first = vmulq_n_u32(vcvtq_u32_f32(places.v), 0x04040404);
        return {vreinterpretq_u8_u32(vaddq_u32(first, vdupq_n_u32(0x03020100)))};
    }
};
inline Vec pick(const float* p, Places places) {
    const uint8x16x2_t bytes{{vreinterpretq_u8_f32(vld1q_f32(p)), vreinterpretq_u8_f32(vld1q_f32(p + Vec::lanes))}};
    return {vreinterpretq_f32_u8(vqtbl2q_u8(bytes, places.v))};
}

constexpr int ROWS = 6, VECTORS = 4;  // registers of one GEMM tile: 24 sums, 4 weights, 1 input of 32
constexpr int POSITIONS = 16;         // outputs of one depthwise row that are in registers

}  // namespace
