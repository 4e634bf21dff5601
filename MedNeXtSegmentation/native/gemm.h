// Small matrix products: rows of activations times packed weights, with something done to each sum before it is stored.
#pragma once

#include "gelu.h"
#include "unrolled.h"

namespace {

constexpr int COLUMNS = VECTORS * Vec::lanes;

struct Store {
    template <typename Target>
    ALWAYS_INLINE void operator()(Vec value, Target* target) const {
        store(value, target);
    }
};

struct Add {
    template <typename Target>
    ALWAYS_INLINE void operator()(Vec value, Target* target) const {
        store(load(target) + value, target);
    }
};

struct Gelu {
    template <typename Target>
    ALWAYS_INLINE void operator()(Vec value, Target* target) const {
        store(gelu(value), target);
    }
};

// Packs a matrix (depth, columns), its rows multiplied by `scale` (if any), in blocks of COLUMNS for `gemm`.
void pack(const float* matrix, const float* scale, int64_t depth, int64_t columns, void* packed) {
    Element* out = static_cast<Element*>(packed);
    for (int64_t column = 0; column < columns; column += COLUMNS)
        for (int64_t k = 0; k < depth; k += DEPTH_STEP)
            for (int64_t c = 0; c < COLUMNS; ++c)
                for (int64_t d = k; d < k + DEPTH_STEP; ++d)
                    *out++ = rounded(matrix[d * columns + column + c] * (scale ? scale[d] : 1.0f));
}

// target[r, :] = finish(bias + a[r, :] * b) for R rows and one block of columns; `bias` may be null.
template <int R, typename Target, typename Finish>
void gemm_tile(const Element* a, int64_t a_step, const Element* b, const float* bias, int64_t depth, Target* target,
               int64_t target_step, Finish finish) {
    Vec sum[R][VECTORS];
    unrolled<0, VECTORS>([&](auto v) {
        const Vec start = bias ? Vec::load(bias + v * Vec::lanes) : Vec::all(0.0f);
        unrolled<0, R>([&](auto r) { sum[r][v] = start; });
    });
    for (int64_t k = 0; k < depth; k += DEPTH_STEP, b += COLUMNS * DEPTH_STEP) {
        Factor weight[VECTORS];
        unrolled<0, VECTORS>([&](auto v) { weight[v] = weights(b + v * Vec::lanes * DEPTH_STEP); });
        unrolled<0, R>([&](auto r) {
            const Factor value = spread(a + r * a_step + k);
            unrolled<0, VECTORS>([&](auto v) { sum[r][v] = multiply_add(value, weight[v], sum[r][v]); });
        });
    }
    unrolled<0, R>([&](auto r) {
        unrolled<0, VECTORS>([&](auto v) { finish(sum[r][v], target + r * target_step + v * Vec::lanes); });
    });
}

template <int R, typename Target, typename Finish>
void gemm_rest(int64_t rows, const Element* a, int64_t a_step, const Element* b, const float* bias, int64_t depth,
               Target* target, int64_t target_step, Finish finish) {
    if constexpr (R > 0) {
        if (rows == R) gemm_tile<R>(a, a_step, b, bias, depth, target, target_step, finish);
        else gemm_rest<R - 1>(rows, a, a_step, b, bias, depth, target, target_step, finish);
    }
}

// target (rows, columns) = finish(bias + a (rows, depth) * b (depth, columns)); b is packed in blocks of COLUMNS.
template <typename Target, typename Finish>
void gemm(const Element* a, int64_t a_step, const Element* b, const float* bias, int64_t rows, int64_t depth,
          int64_t columns, Target* target, int64_t target_step, Finish finish) {
    for (int64_t column = 0; column < columns; column += COLUMNS) {
        const Element* block = b + column * depth;
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
