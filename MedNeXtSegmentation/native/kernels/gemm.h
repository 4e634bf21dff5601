// Small matrix products: rows of activations times packed weights, with a function applied to each sum.
#pragma once

#include "processors/prefetch.h"

namespace {

constexpr int COLUMNS = VECTORS * Vec::lanes;

// Functions for a row of sums: store it, add it, or store its GELU.
struct Store {
    template <int V, typename Target>
    ALWAYS_INLINE void operator()(const Vec (&values)[V], Target* target) const {
        store_row(values, target);
    }
};

struct Add {
    template <int V, typename Target>
    ALWAYS_INLINE void operator()(const Vec (&values)[V], Target* target) const {
        Vec sums[V];
        unrolled<0, V>([&](auto v) { sums[v] = load(target + v * Vec::lanes) + values[v]; });
        store_row(sums, target);
    }
};

struct Gelu {
    template <int V, typename Target>
    ALWAYS_INLINE void operator()(const Vec (&values)[V], Target* target) const {
        Vec activated[V];
        unrolled<0, V>([&](auto v) { activated[v] = gelu(values[v]); });
        store_row(activated, target);
    }
};

// Packs a matrix (depth, columns), its rows `step` values apart and multiplied by `scale` (if any), in blocks of COLUMNS
// for `gemm`.
void pack(const float* matrix, const float* scale, int64_t depth, int64_t columns, int64_t step, void* packed) {
    Element* out = static_cast<Element*>(packed);
    for (int64_t column = 0; column < columns; column += COLUMNS)
        for (int64_t k = 0; k < depth; k += DEPTH_STEP)
            for (int64_t c = 0; c < COLUMNS; ++c)
                for (int64_t d = k; d < k + DEPTH_STEP; ++d)
                    *out++ = rounded(matrix[d * step + column + c] * (scale ? scale[d] : 1.0f));
}

// target[r, :] = finish(bias + a[r, :] * b) for R rows and the first V vectors of one block of columns; `bias` may be
// null. Each step of the inner dimension prefetches one line of `ahead`.
template <int R, int V, typename Target, typename Finish>
void gemm_tile(const Element* a, int64_t a_step, const Element* b, const float* bias, int64_t depth, Target* target,
               int64_t target_step, Finish finish, Prefetch& ahead) {
    Vec sum[R][V];
    unrolled<0, V>([&](auto v) {
        const Vec start = bias ? Vec::load(bias + v * Vec::lanes) : Vec::all(0.0f);
        unrolled<0, R>([&](auto r) { sum[r][v] = start; });
    });
    // Every third row has its own pointer: more would not fit into the registers, and fewer could not address all rows.
    const Element* third[(R + 2) / 3];
    unrolled<0, (R + 2) / 3>([&](auto i) { third[i] = a + 3 * i * a_step; });
    Prefetch lines = ahead;
    for (int64_t k = 0; k < depth; k += DEPTH_STEP, b += COLUMNS * DEPTH_STEP) {
        Factor weight[V];
        lines.next();
        unrolled<0, V>([&](auto v) { weight[v] = weights(b + v * Vec::lanes * DEPTH_STEP); });
        unrolled<0, R>([&](auto r) {
            const Factor value = spread(third[r / 3] + r % 3 * a_step);
            unrolled<0, V>([&](auto v) { sum[r][v] = multiply_add(value, weight[v], sum[r][v]); });
        });
        unrolled<0, (R + 2) / 3>([&](auto i) { third[i] += DEPTH_STEP; });
    }
    ahead = lines;
    unrolled<0, R>([&](auto r) { finish(sum[r], target + r * target_step); });
}

template <int R, int V, typename Target, typename Finish>
void gemm_rest(int64_t rows, const Element* a, int64_t a_step, const Element* b, const float* bias, int64_t depth,
               Target* target, int64_t target_step, Finish finish, Prefetch& ahead) {
    if constexpr (R > 0) {
        if (rows == R) gemm_tile<R, V>(a, a_step, b, bias, depth, target, target_step, finish, ahead);
        else gemm_rest<R - 1, V>(rows, a, a_step, b, bias, depth, target, target_step, finish, ahead);
    }
}

// target (rows, columns) = finish(bias + a (rows, depth) * b (depth, columns)); b is packed in blocks of COLUMNS, of
// which the first V vectors are computed.
template <int V = VECTORS, typename Target, typename Finish>
void gemm(const Element* a, int64_t a_step, const Element* b, const float* bias, int64_t rows, int64_t depth,
          int64_t columns, Target* target, int64_t target_step, Finish finish, Prefetch ahead) {
    for (int64_t column = 0; column < columns; column += COLUMNS) {
        const Element* block = b + column * depth;
        const float* start = bias ? bias + column : nullptr;
        int64_t row = 0;
        for (; row + ROWS <= rows; row += ROWS) {
            gemm_tile<ROWS, V>(a + row * a_step, a_step, block, start, depth, target + row * target_step + column,
                               target_step, finish, ahead);
        }
        gemm_rest<ROWS - 1, V>(rows - row, a + row * a_step, a_step, block, start, depth,
                               target + row * target_step + column, target_step, finish, ahead);
    }
}

template <int V = VECTORS, typename Target, typename Finish>
void gemm(const Element* a, int64_t a_step, const Element* b, const float* bias, int64_t rows, int64_t depth,
          int64_t columns, Target* target, int64_t target_step, Finish finish) {
    gemm<V>(a, a_step, b, bias, rows, depth, columns, target, target_step, finish, Prefetch(b, 0));
}

}  // namespace
