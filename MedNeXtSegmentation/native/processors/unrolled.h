// Loops that the compiler must unroll, so that arrays of vectors stay in registers.
#pragma once

#include <type_traits>

#if defined(_MSC_VER) && !defined(__clang__)
#define ALWAYS_INLINE __forceinline
#else
#define ALWAYS_INLINE inline __attribute__((always_inline))
#endif

namespace {

// Calls body(integral_constant<int, I>) for I in [Begin, End).
template <int Begin, int End, typename Body>
ALWAYS_INLINE void unrolled(const Body& body) {
    if constexpr (Begin < End) {
        body(std::integral_constant<int, Begin>{});
        unrolled<Begin + 1, End>(body);
    }
}

}  // namespace
