// What Python calls: see native_library.py for the other side of every function and structure.

#include "exported.h"
#include "processor.h"
#include "threads.h"

EXPORTED int64_t mednext_version() { return 2; }

// The best float32 kernels of this processor, or those of this name; null if there are none. All others take them.
EXPORTED const Kernels* mednext_kernels(const char* name) { return find_kernels(name); }

EXPORTED const char* mednext_name(const Kernels* kernels) { return kernels->name; }

// Bytes of a stored value: 4 for float32, 2 for bfloat16.
EXPORTED int64_t mednext_bytes(const Kernels* kernels) { return kernels->bytes; }

// Packs a matrix (depth, columns), its rows multiplied by `scale` (if any), for the products of the others.
EXPORTED void mednext_pack(const Kernels* kernels, const float* matrix, const float* scale, int64_t depth,
                           int64_t columns, void* packed) {
    kernels->pack(matrix, scale, depth, columns, packed);
}

// Mean and variance of every channel go to `mean` and `variance`.
EXPORTED void mednext_depthwise(const Kernels* kernels, const Depthwise* job, double* mean, double* variance,
                                int64_t threads) {
    const int64_t channels = job->channels, rows = job->out_z * job->out_y;
    std::vector<double> sums(threads * 2 * channels, 0.0);
    std::vector<double> counts(threads, 0.0);
    in_parallel(rows, 1, threads, [&](int64_t begin, int64_t end, int64_t part) {
        double* own = sums.data() + part * 2 * channels;
        Moments moments{0.0, own, own + channels};
        kernels->depthwise(*job, begin, end, moments);
        counts[part] = moments.count;
    });
    double count = 0.0;
    std::fill(mean, mean + channels, 0.0);
    std::fill(variance, variance + channels, 0.0);
    for (int64_t part = 0; part < threads; ++part) {
        if (counts[part] == 0.0) continue;
        const double* other = sums.data() + part * 2 * channels;
        const double share = counts[part] / (count + counts[part]);
        for (int64_t c = 0; c < channels; ++c) {
            const double difference = other[c] - mean[c];
            mean[c] += difference * share;
            variance[c] += other[channels + c] + difference * difference * share * count;
        }
        count += counts[part];
    }
    for (int64_t c = 0; c < channels; ++c) variance[c] /= count;
}

EXPORTED void mednext_pointwise(const Kernels* kernels, const Pointwise* job, int64_t threads) {
    const int64_t rows = job->depthwise.out_z * job->depthwise.out_y, hidden = job->hidden;
    std::vector<double> squares(job->hidden_squares ? threads * hidden : 0, 0.0);
    in_parallel(rows, 1, threads, [&](int64_t begin, int64_t end, int64_t part) {
        std::vector<float> scratch(kernels->pointwise_scratch(*job) / sizeof(float) + 1);
        double* own = job->hidden_squares ? squares.data() + part * hidden : nullptr;
        kernels->pointwise(*job, begin, end, scratch.data(), own);
    });
    for (size_t i = 0; i < squares.size(); ++i) job->hidden_squares[i % hidden] += squares[i];
}

// A 1x1x1 convolution of planes (in_channels, voxels) to (voxels, out_channels).
EXPORTED void mednext_stem(const Kernels* kernels, const float* planes, const float* weights, const float* bias,
                           void* output, int64_t voxels, int64_t in_channels, int64_t out_channels, int64_t threads) {
    in_parallel(voxels, 256, threads, [=](int64_t begin, int64_t end, int64_t) {
        kernels->stem(planes, weights, bias, output, begin, end, voxels, in_channels, out_channels);
    });
}

// A 1x1x1 convolution of (voxels, in_channels) to planes (out_channels, voxels): a segmentation head.
EXPORTED void mednext_head(const Kernels* kernels, const void* input, const void* packed, const float* bias,
                           float* planes, int64_t voxels, int64_t in_channels, int64_t out_channels, int64_t threads) {
    in_parallel(voxels, 256, threads, [=](int64_t begin, int64_t end, int64_t) {
        kernels->head(input, packed, bias, planes, begin, end, voxels, in_channels, out_channels);
    });
}
