#include "processor.h"

#include <cstring>

#if defined(__x86_64__) || defined(_M_X64)
#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
#endif

extern const Kernels kernels_avx2, kernels_avx512;
#if defined(MEDNEXT_BF16)
extern const Kernels kernels_avx512_bf16;
#endif

namespace {

#if defined(_MSC_VER) && !defined(__clang__)

bool leaf_seven(int bit) {
    int registers[4];
    __cpuidex(registers, 7, 0);
    return registers[1] >> bit & 1;
}

// Whether the operating system saves these registers.
bool saves(unsigned long long state) {
    int registers[4];
    __cpuid(registers, 1);
    return registers[2] >> 27 & 1 && (_xgetbv(0) & state) == state;
}

bool has_avx2() {
    int registers[4];
    __cpuid(registers, 1);
    return registers[2] >> 12 & 1 && leaf_seven(5) && saves(0x6);
}

bool has_avx512() { return leaf_seven(16) && leaf_seven(17) && saves(0xe6); }  // F and DQ

bool has_bf16() {
    int registers[4];
    __cpuidex(registers, 7, 1);
    return has_avx512() && registers[0] >> 5 & 1;
}

#else

bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool has_avx512() { return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq"); }
bool has_bf16() { return has_avx512() && __builtin_cpu_supports("avx512bf16"); }

#endif

}  // namespace

const Kernels* find_kernels(const char* name) {
#if defined(MEDNEXT_BF16)
    if (name && has_bf16() && !std::strcmp(name, kernels_avx512_bf16.name)) return &kernels_avx512_bf16;
#endif
    if (has_avx512() && (!name || !std::strcmp(name, kernels_avx512.name))) return &kernels_avx512;
    if (has_avx2() && (!name || !std::strcmp(name, kernels_avx2.name))) return &kernels_avx2;
    return nullptr;
}

#elif defined(__aarch64__) || defined(_M_ARM64)

extern const Kernels kernels_neon;

const Kernels* find_kernels(const char* name) {
    return !name || !std::strcmp(name, kernels_neon.name) ? &kernels_neon : nullptr;
}

#else

const Kernels* find_kernels(const char*) { return nullptr; }

#endif
