// Small matrix products with a function at the beginning and at the end of each sum.
#pragma once

#include <vector>

#include "vector.h"

constexpr int64_t BLOCK = 2 * LANES;  // columns of a tile; 32 is a multiple of it

// A matrix whose columns lie in blocks: block i begins at first + i * block, and its rows are `step` apart.
struct Blocks {
    const float* first;
    int64_t block, step;
};

inline Blocks as_it_lies(const float* matrix, int64_t step) { return {matrix, BLOCK, step}; }

// A matrix (depth, columns), or its transpose as it lies, packed in blocks that are read from end to end.
class Packed {
  public:
    Packed(const float* matrix, int64_t depth, int64_t columns, bool transposed)
        : depth_(depth), values_(depth * columns) {
        float* out = values_.data();
        for (int64_t column = 0; column < columns; column += BLOCK)
            for (int64_t k = 0; k < depth; ++k)
                for (int64_t c = column; c < column + BLOCK; ++c)
                    *out++ = transposed ? matrix[c * depth + k] : matrix[k * columns + c];
    }
    Blocks blocks() const { return {values_.data(), depth_ * BLOCK, BLOCK}; }

  private:
    int64_t depth_;
    std::vector<float> values_;
};

template <int R, typename Start, typename Finish>
inline void product_tile(const float* a, int64_t a_row, int64_t a_depth, const float* b, int64_t b_step, int64_t depth,
                         Start start, Finish finish) {
    Vec sum[R][2];
    UNROLLED for (int r = 0; r < R; ++r) UNROLLED for (int v = 0; v < 2; ++v) sum[r][v] = start(r, v * LANES);
    for (int64_t k = 0; k < depth; ++k, a += a_depth, b += b_step) {
        const Vec low = load(b), high = load(b + LANES);
        UNROLLED for (int r = 0; r < R; ++r) {
            const float factor = a[r * a_row];
            sum[r][0] += factor * low;
            sum[r][1] += factor * high;
        }
    }
    UNROLLED for (int r = 0; r < R; ++r) UNROLLED for (int v = 0; v < 2; ++v) finish(r, v * LANES, sum[r][v]);
}

// finish(r, c, start(r, c) + sum over k of a[r * a_row + k * a_depth] * b[k, c]) for all rows and columns; c is the first
// of LANES columns, and `columns` a multiple of BLOCK.
template <typename Start, typename Finish>
void product(const float* a, int64_t a_row, int64_t a_depth, Blocks b, int64_t rows, int64_t depth, int64_t columns,
             Start start, Finish finish) {
    for (int64_t column = 0; column < columns; column += BLOCK, b.first += b.block) {
        int64_t row = 0;
        const auto begin = [&](int r, int c) { return start(row + r, column + c); };
        const auto end = [&](int r, int c, Vec value) { finish(row + r, column + c, value); };
        for (; row + ROWS <= rows; row += ROWS)
            product_tile<ROWS>(a + row * a_row, a_row, a_depth, b.first, b.step, depth, begin, end);
        for (; row < rows; ++row)
            product_tile<1>(a + row * a_row, a_row, a_depth, b.first, b.step, depth, begin, end);
    }
}
