// Pass B of a block: expansion, GELU, compression and residual, in pieces that stay in the caches.
#pragma once

#include "depthwise.h"
#include "gemm.h"

namespace {

constexpr int64_t PIECE_FLOATS = 4096;  // of hidden activations: half of a first-level cache
constexpr int64_t FEWEST_VOXELS = 96;   // in a piece: each streams all weights through the caches

inline int64_t piece_voxels(const Pointwise& job) {
    const int64_t fit = PIECE_FLOATS / job.hidden / ROWS * ROWS;
    return fit > FEWEST_VOXELS || job.hidden <= PIECE_FLOATS / 4 / ROWS ? (fit > ROWS ? fit : ROWS) : FEWEST_VOXELS;
}

// Rows of the output that are computed together.
inline int64_t rows_at_once(const Pointwise& job) {
    const int64_t voxels = piece_voxels(job), rows = (voxels + job.depthwise.out_x - 1) / job.depthwise.out_x;
    return rows;
}

int64_t pointwise_scratch(const Pointwise& job) {
    const int64_t tile = rows_at_once(job) * job.depthwise.out_x;
    return tile * (job.depthwise.channels + job.out_channels) + piece_voxels(job) * job.hidden;
}

// The residual convolution reads every second voxel (DOWN) or writes every second one (UP).
inline void add_residual_row(const Pointwise& job, int64_t z, int64_t y, float* result) {
    const Depthwise& grid = job.depthwise;
    const int64_t in = grid.channels, out = job.out_channels;
    if (grid.stride == DOWN) {
        const float* row = grid.input + (2 * z * grid.in_y + 2 * y) * grid.in_x * in;
        gemm(row, 2 * in, job.residual_weights, nullptr, grid.out_x, in, out, result, out, Add{});
    } else if (z % 2 == 0 && y % 2 == 0) {
        const float* row = grid.input + (z / 2 * grid.in_y + y / 2) * grid.in_x * in;
        gemm(row, in, job.residual_weights, nullptr, grid.in_x, in, out, result, 2 * out, Add{});
    }
}

inline void write_row(const Pointwise& job, int64_t z, int64_t y, const float* result) {
    const int64_t row = (z + job.offset) * job.target_y + y + job.offset;
    float* target = job.target + (row * job.target_x + job.offset) * job.out_channels;
    for (int64_t i = 0; i < job.depthwise.out_x * job.out_channels; i += Vec::lanes) {
        if (job.add) Add{}(Vec::load(result + i), target + i);
        else Store{}(Vec::load(result + i), target + i);
    }
}

inline void sum_squares(const float* hidden, int64_t voxels, int64_t channels, double* squares) {
    for (int64_t c = 0; c < channels; c += Vec::lanes) {
        Vec sum = Vec::all(0.0f);
        for (int64_t v = 0; v < voxels; ++v) {
            const Vec value = Vec::load(hidden + v * channels + c);
            sum = fma(value, value, sum);
        }
        float lanes[Vec::lanes];
        sum.store(lanes);
        for (int lane = 0; lane < Vec::lanes; ++lane) squares[c + lane] += lanes[lane];
    }
}

void pointwise(const Pointwise& job, int64_t first_row, int64_t last_row, float* scratch, double* hidden_squares) {
    const Depthwise& grid = job.depthwise;
    const int64_t piece = piece_voxels(job), at_once = rows_at_once(job), in = grid.channels, out = job.out_channels;
    const DepthwiseLanes lanes_of_row = depthwise_for(grid.k, grid.stride);
    float* normalised = scratch;  // before the norm, which is in the weights
    float* result = normalised + at_once * grid.out_x * in;
    float* hidden = result + at_once * grid.out_x * out;
    const bool in_place = grid.stride == SAME && !hidden_squares;
    for (int64_t row = first_row; row < last_row; row += at_once) {
        const int64_t rows = row + at_once <= last_row ? at_once : last_row - row, voxels = rows * grid.out_x;
        const float* a = grid.output + row * grid.out_x * in;
        if (!grid.output) {
            a = normalised;
            for (int64_t r = 0; r < rows; ++r)
                for (int64_t lane = 0; lane < in; lane += Vec::lanes)
                    lanes_of_row(grid, (row + r) / grid.out_y, (row + r) % grid.out_y, lane,
                                 normalised + r * grid.out_x * in);
        }
        float* to = in_place ? job.target + row * grid.out_x * out : result;
        for (int64_t v = 0; v < voxels; v += piece) {
            const int64_t count = v + piece <= voxels ? piece : voxels - v;
            gemm(a + v * in, in, job.expansion, job.expansion_bias, count, in, job.hidden, hidden, job.hidden, Gelu{});
            if (hidden_squares) sum_squares(hidden, count, job.hidden, hidden_squares);
            else if (in_place && job.add)
                gemm(hidden, job.hidden, job.compression, job.compression_bias, count, job.hidden, out, to + v * out,
                     out, Add{});
            else
                gemm(hidden, job.hidden, job.compression, job.compression_bias, count, job.hidden, out, to + v * out,
                     out, Store{});
        }
        if (in_place || hidden_squares) continue;
        for (int64_t r = 0; r < rows; ++r) {
            const int64_t z = (row + r) / grid.out_y, y = (row + r) % grid.out_y;
            if (job.residual == CONVOLUTION) add_residual_row(job, z, y, result + r * grid.out_x * out);
            write_row(job, z, y, result + r * grid.out_x * out);
        }
    }
}

// A 1x1x1 convolution of (voxels, in_channels) to planes (out_channels, voxels): a segmentation head.
void head(const float* input, const float* packed, const float* bias, float* planes, int64_t first_voxel,
          int64_t last_voxel, int64_t voxels, int64_t in_channels, int64_t out_channels) {
    constexpr int64_t piece = 8 * ROWS;
    float logits[piece * COLUMNS];
    for (int64_t v = first_voxel; v < last_voxel; v += piece) {
        const int64_t count = v + piece <= last_voxel ? piece : last_voxel - v;
        for (int64_t block = 0; block < out_channels; block += COLUMNS) {
            gemm(input + v * in_channels, in_channels, packed + block * in_channels, bias + block, count, in_channels,
                 COLUMNS, logits, COLUMNS, Store{});
            const int64_t classes = block + COLUMNS <= out_channels ? COLUMNS : out_channels - block;
            for (int64_t c = 0; c < classes; ++c)
                for (int64_t i = 0; i < count; ++i) planes[(block + c) * voxels + v + i] = logits[i * COLUMNS + c];
        }
    }
}

}  // namespace
