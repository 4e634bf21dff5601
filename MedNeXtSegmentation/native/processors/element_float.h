// Storage of activations and packed weights as float32.
#pragma once

#include "processors/unrolled.h"

namespace {

using Element = float;
using Factor = Vec;                // operand of one step of a matrix product
constexpr int64_t DEPTH_STEP = 1;  // values of the inner dimension in a step

inline Factor spread(const Element* a) { return Vec::all(*a); }
inline Factor weights(const Element* b) { return Vec::load(b); }
inline Vec multiply_add(Factor a, Factor b, Vec sum) { return fma(a, b, sum); }

inline Vec load(const float* p) { return Vec::load(p); }
inline void store(Vec value, float* p) { value.store(p); }
template <int V>
ALWAYS_INLINE void store_row(const Vec (&values)[V], float* p) {
    unrolled<0, V>([&](auto v) { store(values[v], p + v * Vec::lanes); });
}
inline void stream(Vec value, float* p) { value.stream(p); }

// The depthwise convolution reads consecutive channels together.
constexpr int PARTS = 1;
template <int PART>
ALWAYS_INLINE Vec load_part(const Element* p) {
    return load(p);
}
int64_t channel_at(int64_t position) { return position; }

inline Element rounded(float x) { return x; }

}  // namespace
