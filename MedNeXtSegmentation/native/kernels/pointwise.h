// Pass B of a block: expansion, GELU, compression and residual, in pieces that stay in the caches.
#pragma once

#include "kernels/depthwise.h"
#include "kernels/gemm.h"

namespace {

constexpr int64_t PIECE = 8 * 12;  // voxels whose hidden activations fit into the caches; a multiple of ROWS

// The number of output rows to compute together: short rows share one pass over the weights.
inline int64_t rows_at_once(const Pointwise& job) { return (PIECE + job.depthwise.out_x - 1) / job.depthwise.out_x; }

// Scratch memory of one thread: rows before the norm and hidden activations in the stored type, results in float32.
struct Scratch {
    int64_t normed, hidden, result;

    explicit Scratch(const Pointwise& job) {
        const int64_t tile = rows_at_once(job) * job.depthwise.out_x;
        normed = tile * job.depthwise.channels;
        hidden = PIECE * job.hidden;
        result = tile * job.out_channels;
    }
};

int64_t pointwise_scratch(const Pointwise& job) {
    const Scratch size(job);
    return (size.normed + size.hidden) * sizeof(Element) + size.result * sizeof(float);
}

// The residual convolution reads every second voxel (DOWN) or writes every second one (UP).
inline void add_residual_row(const Pointwise& job, int64_t z, int64_t y, float* result) {
    const Depthwise& grid = job.depthwise;
    const int64_t in = grid.channels, out = job.out_channels;
    const Element* input = static_cast<const Element*>(grid.input);
    const Element* matrix = static_cast<const Element*>(job.residual_weights);
    if (grid.stride == DOWN) {
        const Element* row = input + (2 * z * grid.in_y + 2 * y) * grid.in_x * in;
        gemm(row, 2 * in, matrix, nullptr, grid.out_x, in, out, result, out, Add{});
    } else if (z % 2 == 0 && y % 2 == 0) {
        const Element* row = input + (z / 2 * grid.in_y + y / 2) * grid.in_x * in;
        gemm(row, in, matrix, nullptr, grid.in_x, in, out, result, 2 * out, Add{});
    }
}

inline Element* target_row(const Pointwise& job, int64_t z, int64_t y) {
    const int64_t row = (z + job.offset) * job.target_y + y + job.offset;
    return static_cast<Element*>(job.target) + (row * job.target_x + job.offset) * job.out_channels;
}

inline void write_row(const Pointwise& job, int64_t z, int64_t y, const float* result) {
    Element* target = target_row(job, z, y);
    for (int64_t i = 0; i < job.depthwise.out_x * job.out_channels; i += Vec::lanes) {
        const Vec value[1] = {load(result + i)};
        if (job.add) Add{}(value, target + i);
        else Store{}(value, target + i);
    }
}

inline void sum_squares(const Element* hidden, int64_t voxels, int64_t channels, double* squares) {
    for (int64_t c = 0; c < channels; c += Vec::lanes) {
        Vec sum = Vec::all(0.0f);
        for (int64_t v = 0; v < voxels; ++v) {
            const Vec value = load(hidden + v * channels + c);
            sum = fma(value, value, sum);
        }
        float lanes[Vec::lanes];
        sum.store(lanes);
        for (int lane = 0; lane < Vec::lanes; ++lane) squares[c + lane] += lanes[lane];
    }
}

// Expansion, GELU and compression of `voxels` voxels; with `squares` only the sums of squares after the GELU. The
// expansion prefetches `wanted`, the final place of the results, and the compression the input of the next piece.
template <typename Target, typename Finish>
void transform(const Pointwise& job, const Element* normed, int64_t voxels, Element* hidden, double* squares,
               Target* target, Finish finish, const Element* wanted) {
    const int64_t in = job.depthwise.channels, out = job.out_channels;
    const Element* expansion = static_cast<const Element*>(job.expansion);
    const Element* compression = static_cast<const Element*>(job.compression);
    for (int64_t v = 0; v < voxels; v += PIECE) {
        const int64_t count = v + PIECE <= voxels ? PIECE : voxels - v;
        gemm(normed + v * in, in, expansion, job.expansion_bias, count, in, job.hidden, hidden, job.hidden, Gelu{},
             Prefetch(wanted + v * out, count * out * sizeof(Element)));
        if (squares) sum_squares(hidden, count, job.hidden, squares);
        else
            gemm(hidden, job.hidden, compression, job.compression_bias, count, job.hidden, out, target + v * out, out,
                 finish, Prefetch(normed + (v + count) * in, count * in * sizeof(Element)));
    }
}

void pointwise(const Pointwise& job, int64_t first_row, int64_t last_row, void* scratch, double* hidden_squares) {
    const Depthwise& grid = job.depthwise;
    const Scratch size(job);
    const int64_t at_once = rows_at_once(job), in = grid.channels, out = job.out_channels;
    float* result = static_cast<float*>(scratch);
    Element* computed = reinterpret_cast<Element*>(result + size.result);
    Element* hidden = computed + size.normed;
    for (int64_t row = first_row; row < last_row; row += at_once) {
        const int64_t rows = row + at_once <= last_row ? at_once : last_row - row, voxels = rows * grid.out_x;
        const Element* normed = static_cast<const Element*>(grid.output) + row * grid.out_x * in;
        if (!grid.output) {
            normed = computed;
            for (int64_t r = 0; r < rows; ++r)
                depthwise_row(grid, (row + r) / grid.out_y, (row + r) % grid.out_y, computed + r * grid.out_x * in, nullptr);
        }
        if (grid.stride == SAME) {  // the target's rows are contiguous
            Element* target = static_cast<Element*>(job.target) + row * grid.out_x * out;
            if (job.add) transform(job, normed, voxels, hidden, hidden_squares, target, Add{}, target);
            else transform(job, normed, voxels, hidden, hidden_squares, target, Store{}, target);
            continue;
        }
        transform(job, normed, voxels, hidden, hidden_squares, result, Store{},
                  target_row(job, row / grid.out_y, row % grid.out_y));
        for (int64_t r = 0; r < rows && !hidden_squares; ++r) {
            const int64_t z = (row + r) / grid.out_y, y = (row + r) % grid.out_y;
            if (job.residual == CONVOLUTION) add_residual_row(job, z, y, result + r * grid.out_x * out);
            write_row(job, z, y, result + r * grid.out_x * out);
        }
    }
}

}  // namespace
