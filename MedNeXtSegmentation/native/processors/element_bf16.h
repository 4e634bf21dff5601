// Storage of activations and packed weights as bfloat16, with sums in float32. Needs AVX-512 BF16.
#pragma once

#include <cstring>

#include "processors/unrolled.h"

namespace {

struct Element {
    uint16_t bits;
};

using Factor = __m512bh;           // sixteen pairs: one step multiplies two values with two
constexpr int64_t DEPTH_STEP = 2;  // rows k and k + 1 of a matrix are packed alternately

inline Factor spread(const Element* a) {
    int32_t pair;
    std::memcpy(&pair, a, sizeof pair);
    return reinterpret_cast<Factor>(_mm512_set1_epi32(pair));
}
inline Factor weights(const Element* b) { return reinterpret_cast<Factor>(_mm512_loadu_si512(b)); }
inline Vec multiply_add(Factor a, Factor b, Vec sum) { return {_mm512_dpbf16_ps(sum.v, a, b)}; }

inline Vec load(const float* p) { return Vec::load(p); }
inline void store(Vec value, float* p) { value.store(p); }
inline Vec load(const Element* p) {
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
}
inline void store(Vec value, Element* p) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(value.v)));
}

template <int V, typename Target>
ALWAYS_INLINE void store_row(const Vec (&values)[V], Target* p) {
    unrolled<0, V>([&](auto v) { store(values[v], p + v * Vec::lanes); });
}
ALWAYS_INLINE void store_row(const Vec (&values)[2], Element* p) {  // one conversion for both
    _mm512_storeu_si512(p, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(values[1].v, values[0].v)));
}
inline void stream(Vec value, Element* p) { store(value, p); }  // half a cache line is better cached

// The depthwise convolution reads the even or the odd ones of 32 channels together: one step widens these, where
// consecutive channels take two. So its kernel, statistics and output have the even channels first, then the odd ones.
constexpr int PARTS = 2;
template <int PART>
ALWAYS_INLINE Vec load_part(const Element* p) {
    const __m512i pairs = _mm512_loadu_si512(p);
    const __m512i part = PART ? _mm512_and_si512(pairs, _mm512_set1_epi32(-0x10000)) : _mm512_slli_epi32(pairs, 16);
    return {_mm512_castsi512_ps(part)};
}
int64_t channel_at(int64_t position) { return position / 32 * 32 + position % 16 * 2 + position / 16 % 2; }

inline Element rounded(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return {static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};  // to nearest, ties to even
}

}  // namespace
