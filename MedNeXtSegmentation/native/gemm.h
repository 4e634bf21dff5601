// Small matrix products: rows of activations times packed weights, with something done to each sum before it is stored.
#pragma once

#include "gelu.h"
#include "unrolled.h"

namespace {

constexpr int COLUMNS = VECTORS * Vec::lanes;

struct Store {
    ALWAYS_INLINE void operator()(Vec value, float* target) const { value.store(target); }
};

struct Add {
    ALWAYS_INLINE void operator()(Vec value, float* target) const { (Vec::load(target) + value).store(target); }
};

struct Gelu {
    ALWAYS_INLINE void operator()(Vec value, float* target) const { gelu(value).store(target); }
};

// target[r, :] = finish(bias + a[r, :] * b) for R rows and one block of columns; `bias` may be null.
template <int R, typename Finish>
void gemm_tile(const float* a, int64_t a_step, const float* b, const float* bias, int64_t depth, float* target,
               int64_t target_step, Finish finish) {
    Vec sum[R][VECTORS];
    unrolled<0, VECTORS>([&](auto v) {
        const Vec start = bias ? Vec::load(bias + v * Vec::lanes) : Vec::all(0.0f);
        unrolled<0, R>([&](auto r) { sum[r][v] = start; });
    });
    for (int64_t k = 0; k < depth; ++k, b += COLUMNS) {
        Vec weight[VECTORS];
        unrolled<0, VECTORS>([&](auto v) { weight[v] = Vec::load(b + v * Vec::lanes); });
        unrolled<0, R>([&](auto r) {
            const Vec value = Vec::all(a[r * a_step + k]);
            unrolled<0, VECTORS>([&](auto v) { sum[r][v] = fma(value, weight[v], sum[r][v]); });
        });
    }
    unrolled<0, R>([&](auto r) {
        unrolled<0, VECTORS>([&](auto v) { finish(sum[r][v], target + r * target_step + v * Vec::lanes); });
    });
}

template <int R, typename Finish>
void gemm_rest(int64_t rows, const float* a, int64_t a_step, const float* b, const float* bias, int64_t depth,
               float* target, int64_t target_step, Finish finish) {
    if constexpr (R > 0) {
        if (rows == R) gemm_tile<R>(a, a_step, b, bias, depth, target, target_step, finish);
        else gemm_rest<R - 1>(rows, a, a_step, b, bias, depth, target, target_step, finish);
    }
}

// target (rows, columns) = finish(bias + a (rows, depth) * b (depth, columns)); b is packed in blocks of COLUMNS.
template <typename Finish>
void gemm(const float* a, int64_t a_step, const float* b, const float* bias, int64_t rows, int64_t depth,
          int64_t columns, float* target, int64_t target_step, Finish finish) {
    for (int64_t column = 0; column < columns; column += COLUMNS) {
        const float* block = b + column * depth;
        const float* start = bias ? bias + column : nullptr;
        int64_t row = 0;
        for (; row + ROWS <= rows; row += ROWS) {
            gemm_tile<ROWS>(a + row * a_step, a_step, block, start, depth, target + row * target_step + column,
                            target_step, finish);
        }
        gemm_rest<ROWS - 1>(rows - row, a + row * a_step, a_step, block, start, depth,
                            target + row * target_step + column, target_step, finish);
    }
}

}  // namespace
