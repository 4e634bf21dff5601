// The 1x1x1 convolutions of stem and head: from planes (channels, voxels) to (voxels, channels), and back.
#pragma once

#include "kernels/gemm.h"
#include "network_jobs.h"

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

// Writes the logits of `count` voxels to the planes of their classes.
inline void write_planes(const float* logits, int64_t count, int64_t classes, float* plane, int64_t voxels) {
    constexpr int64_t line = 16;
    for (int64_t c = 0; c < classes; ++c, plane += voxels)
        for (int64_t i = 0; i < count; ++i) {
            if (i % line == 0) fetch(reinterpret_cast<const char*>(plane + i + count));  // for the next voxels
            plane[i] = logits[i * COLUMNS + c];
        }
}

void head(const void* input, const void* packed, const float* bias, float* planes, int64_t first_voxel,
          int64_t last_voxel, int64_t voxels, int64_t in_channels, int64_t out_channels) {
    constexpr int64_t piece = 16 * ROWS;
    float logits[piece * COLUMNS];
    const Element* features = static_cast<const Element*>(input);
    const Element* matrix = static_cast<const Element*>(packed);
    for (int64_t v = first_voxel; v < last_voxel; v += piece) {
        const int64_t count = v + piece <= last_voxel ? piece : last_voxel - v;
        const Element* own = features + v * in_channels;
        for (int64_t block = 0; block < out_channels; block += COLUMNS) {
            const int64_t classes = block + COLUMNS <= out_channels ? COLUMNS : out_channels - block;
            const Element* weights_of_block = matrix + block * in_channels;
            const Prefetch ahead(own + count * in_channels, count * in_channels * sizeof(Element));
            if (classes <= COLUMNS / 2) {
                gemm<VECTORS / 2>(own, in_channels, weights_of_block, bias + block, count, in_channels, COLUMNS, logits,
                                  COLUMNS, Store{}, ahead);
            } else {
                gemm(own, in_channels, weights_of_block, bias + block, count, in_channels, COLUMNS, logits, COLUMNS,
                     Store{}, ahead);
            }
            write_planes(logits, count, classes, planes + block * voxels + v, voxels);
        }
    }
}

}  // namespace
