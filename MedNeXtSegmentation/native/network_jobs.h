// The jobs of the network's kernels: plain structures that Python fills in through ctypes.
//
// Activations are (Z, Y, X, C), C a multiple of CHANNELS, with zeros in the padded channels. They and the packed
// matrices are stored in the kernels' own type, float32 or bfloat16: void pointers here.
#pragma once

#include <cstdint>

#include "resampling_jobs.h"

constexpr int64_t CHANNELS = 32;  // a multiple of the columns of every instruction set's GEMM tile

enum Stride : int64_t { SAME = 0, DOWN = 1, UP = 2 };

// A depthwise convolution without bias, zero-padded by k / 2. DOWN has stride 2; UP is its transpose, on 2n - 1 voxels.
// Kernel, output and statistics have their channels in the order of `channel_at`.
struct Depthwise {
    const void* input;    // (in_z, in_y, in_x, channels)
    const float* kernel;  // (k, k, k, channels)
    void* output;         // (out_z, out_y, out_x, channels), or null to compute only the statistics
    int64_t in_z, in_y, in_x, out_z, out_y, out_x, channels, k, stride;
};

// Mean and sum of squared deviations of each channel over `count` voxels.
struct Moments {
    double count;
    double* mean;
    double* squares;
};

enum Residual : int64_t { NONE = 0, IDENTITY = 1, CONVOLUTION = 2 };

// expansion -> GELU -> compression -> residual for every voxel, with the norm folded into the expansion's weights.
// Matrices are packed (see `pack`), the expansion's rows in the order of the depthwise convolution's output. Biases are
// float32; the compression's includes the residual convolution's.
struct Pointwise {
    Depthwise depthwise;  // if `output` is null, its rows are computed when they are needed
    const void *expansion, *compression, *residual_weights;
    const float *expansion_bias, *compression_bias;
    void* target;         // (target_z, target_y, target_x, out_channels)
    double* hidden_squares;  // if not null, only sum the squares of the hidden channels, for GRN
    int64_t hidden, out_channels, residual, target_y, target_x;
    int64_t offset;       // of the first output voxel in the target, along every axis
    int64_t add;          // whether to add to the target's values
};

// The functions of one instruction set. Work is split over rows (z, y) of the output; `scratch` belongs to one thread.
struct Kernels {
    const char* name;
    int64_t bytes;  // of a stored value
    int64_t (*channel_at)(int64_t position);  // of a depthwise convolution's output
    void (*pack)(const float* matrix, const float* scale, int64_t depth, int64_t columns, int64_t step, void* packed);
    void (*depthwise)(const Depthwise&, int64_t first_row, int64_t last_row, Moments&);
    void (*pointwise)(const Pointwise&, int64_t first_row, int64_t last_row, void* scratch, double* hidden_squares);
    int64_t (*pointwise_scratch)(const Pointwise&);  // bytes
    int64_t (*rows_at_once)(const Pointwise&);       // best number of rows to compute together
    void (*stem)(const float* planes, const float* weights, const float* bias, void* output, int64_t first_voxel,
                 int64_t last_voxel, int64_t voxels, int64_t in_channels, int64_t out_channels);
    void (*head)(const void* input, const void* packed, const float* bias, float* planes, int64_t first_voxel,
                 int64_t last_voxel, int64_t voxels, int64_t in_channels, int64_t out_channels);
    const ResamplingKernels* resampling;  // or null
};
