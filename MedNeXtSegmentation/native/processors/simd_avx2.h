// Eight floats: AVX2 with FMA.
#include <immintrin.h>

#include "processors/unrolled.h"

namespace {

struct Vec {
    static constexpr int lanes = 8;
    __m256 v;
    static Vec load(const float* p) { return {_mm256_loadu_ps(p)}; }
    static Vec all(float x) { return {_mm256_set1_ps(x)}; }
    void store(float* p) const { _mm256_storeu_ps(p, v); }
    void stream(float* p) const { store(p); }  // half a cache line is better cached
};

inline Vec fma(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
inline Vec operator+(Vec a, Vec b) { return {_mm256_add_ps(a.v, b.v)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm256_sub_ps(a.v, b.v)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm256_mul_ps(a.v, b.v)}; }
inline Vec operator/(Vec a, Vec b) { return {_mm256_div_ps(a.v, b.v)}; }
inline Vec smaller(Vec a, Vec b) { return {_mm256_min_ps(a.v, b.v)}; }
inline Vec larger(Vec a, Vec b) { return {_mm256_max_ps(a.v, b.v)}; }

// a > b ? yes : no
inline Vec where_greater(Vec a, Vec b, Vec yes, Vec no) {
    return {_mm256_blendv_ps(no.v, yes.v, _mm256_cmp_ps(a.v, b.v, _CMP_GT_OQ))};
}

// Prefetches a cache line. GCC 12 drops a function with nothing else unless it is force-inlined.
ALWAYS_INLINE void fetch(const char* p) { _mm_prefetch(p, _MM_HINT_T0); }

// x = mantissa * 2^exponent with a mantissa in [1, 2), for normal numbers.
inline Vec exponent(Vec x) {
    const __m256i biased = _mm256_srli_epi32(_mm256_castps_si256(x.v), 23);
    return {_mm256_cvtepi32_ps(_mm256_sub_epi32(biased, _mm256_set1_epi32(127)))};
}
inline Vec mantissa(Vec x) {
    const __m256 bits = _mm256_and_ps(x.v, _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffff)));
    return {_mm256_or_ps(bits, _mm256_set1_ps(1.0f))};
}

// Picks floats among the 2 * lanes at `p` by their places.
struct Places {
    __m256i v;
    static Places of(Vec places) { return {_mm256_cvttps_epi32(places.v)}; }
};
inline Vec pick(const float* p, Places places) {
    const __m256 low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(p), places.v);
    const __m256 high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(p + Vec::lanes), places.v);
    return {_mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(places.v, 28)))};
}

constexpr int ROWS = 6, VECTORS = 2;  // registers of one GEMM tile: 12 sums, 2 weights, 1 input of 16
constexpr int POSITIONS = 8;          // outputs of one depthwise row that are in registers

}  // namespace
