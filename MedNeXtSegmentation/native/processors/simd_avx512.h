// Sixteen floats: AVX-512.
#include <immintrin.h>

#include "processors/unrolled.h"

namespace {

struct Vec {
    static constexpr int lanes = 16;
    __m512 v;
    static Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
    static Vec all(float x) { return {_mm512_set1_ps(x)}; }
    void store(float* p) const { _mm512_storeu_ps(p, v); }
    // Writes a whole line past the caches, without reading it before. The end of a thread orders these writes.
    void stream(float* p) const { _mm512_stream_ps(p, v); }
};

inline Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline Vec operator+(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline Vec operator/(Vec a, Vec b) { return {_mm512_div_ps(a.v, b.v)}; }
inline Vec smaller(Vec a, Vec b) { return {_mm512_min_ps(a.v, b.v)}; }
inline Vec larger(Vec a, Vec b) { return {_mm512_max_ps(a.v, b.v)}; }

// a > b ? yes : no
inline Vec where_greater(Vec a, Vec b, Vec yes, Vec no) {
    return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ), no.v, yes.v)};
}

// Prefetches a cache line. GCC 12 drops a function with nothing else unless it is force-inlined.
ALWAYS_INLINE void fetch(const char* p) { _mm_prefetch(p, _MM_HINT_T0); }

// x = mantissa * 2^exponent with a mantissa in [1, 2), for normal numbers.
inline Vec exponent(Vec x) { return {_mm512_getexp_ps(x.v)}; }
inline Vec mantissa(Vec x) { return {_mm512_getmant_ps(x.v, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_src)}; }

// Picks floats among the 2 * lanes at `p` by their places.
struct Places {
    __m512i v;
    static Places of(Vec places) { return {_mm512_cvttps_epi32(places.v)}; }
};
inline Vec pick(const float* p, Places places) {
    return {_mm512_permutex2var_ps(_mm512_loadu_ps(p), places.v, _mm512_loadu_ps(p + Vec::lanes))};
}

constexpr int ROWS = 12, VECTORS = 2;  // registers of one GEMM tile: 24 sums, 2 weights, 1 input of 32
constexpr int POSITIONS = 16;          // outputs of one depthwise row that are in registers

}  // namespace
