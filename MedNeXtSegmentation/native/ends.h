// The 1x1x1 convolutions at both ends: from planes (channels, voxels) to (voxels, channels), and back.
#pragma once

#include "gemm.h"
#include "jobs.h"

namespace {

void stem(const float* planes, const float* weights, const float* bias, void* output, int64_t first_voxel,
          int64_t last_voxel, int64_t voxels, int64_t in_channels, int64_t out_channels) {
    for (int64_t v = first_voxel; v < last_voxel; ++v) {
        Element* out = static_cast<Element*>(output) + v * out_channels;
        for (int64_t c = 0; c < out_channels; c += Vec::lanes) {
            Vec sum = load(bias + c);
            for (int64_t i = 0; i < in_channels; ++i)
                sum = fma(Vec::all(planes[i * voxels + v]), load(weights + i * out_channels + c), sum);
            store(sum, out + c);
        }
    }
}

void head(const void* input, const void* packed, const float* bias, float* planes, int64_t first_voxel,
          int64_t last_voxel, int64_t voxels, int64_t in_channels, int64_t out_channels) {
    constexpr int64_t piece = 8 * ROWS;
    float logits[piece * COLUMNS];
    const Element* features = static_cast<const Element*>(input);
    for (int64_t v = first_voxel; v < last_voxel; v += piece) {
        const int64_t count = v + piece <= last_voxel ? piece : last_voxel - v;
        for (int64_t block = 0; block < out_channels; block += COLUMNS) {
            gemm(features + v * in_channels, in_channels, static_cast<const Element*>(packed) + block * in_channels,
                 bias + block, count, in_channels, COLUMNS, logits, COLUMNS, Store{});
            const int64_t classes = block + COLUMNS <= out_channels ? COLUMNS : out_channels - block;
            for (int64_t c = 0; c < classes; ++c)
                for (int64_t i = 0; i < count; ++i) planes[(block + c) * voxels + v + i] = logits[i * COLUMNS + c];
        }
    }
}

}  // namespace
