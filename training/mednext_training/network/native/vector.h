// Vectors of floats that the compiler lays out for the processor at hand.
#pragma once

#include <cstdint>

#ifdef __clang__
#define UNROLLED _Pragma("unroll")
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define UNROLLED _Pragma("GCC unroll 16")
#define INDEPENDENT _Pragma("GCC ivdep")  // no turn of the loop reads what another one writes
#endif

#if defined(__AVX512F__)
constexpr int LANES = 16, ROWS = 8;  // ROWS pairs of sums in the registers: 16 of 32
#elif defined(__AVX__)
constexpr int LANES = 8, ROWS = 4;  // 8 of 16
#else
constexpr int LANES = 4, ROWS = 8;
#endif

// A vector of floats anywhere in memory.
using Vec = float __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

inline Vec load(const float* p) { return *reinterpret_cast<const Vec*>(p); }
inline void store(Vec value, float* p) { *reinterpret_cast<Vec*>(p) = value; }
