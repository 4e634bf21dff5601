// The exported functions for networks; native_library.py declares and calls them.

#include "exported_functions.h"
#include "processor.h"
#include "threads.h"

EXPORTED int64_t mednext_version() { return 4; }

// The kernels of this name, or the best float32 ones; null if this processor has none. All other functions take them.
EXPORTED const Kernels* mednext_kernels(const char* name) { return find_kernels(name); }

EXPORTED const char* mednext_name(const Kernels* kernels) { return kernels->name; }

// Bytes of a stored value: 4 for float32, 2 for bfloat16.
EXPORTED int64_t mednext_bytes(const Kernels* kernels) { return kernels->bytes; }

// The channel at this position in the output of a depthwise convolution, its statistics and its kernel.
EXPORTED int64_t mednext_channel_at(const Kernels* kernels, int64_t position) { return kernels->channel_at(position); }

// Packs a matrix (depth, columns), with its rows multiplied by `scale` (if any), for matrix products.
EXPORTED int64_t mednext_pack(const Kernels* kernels, const float* matrix, const float* scale, int64_t depth,
                           int64_t columns, void* packed) {
    return guarded([&]() -> int64_t {
        kernels->pack(matrix, scale, depth, columns, columns, packed);
        return DONE;
    });
}

// Folds the map x * scale + shift of a product's input into its matrix, which is packed, and its bias.
EXPORTED int64_t mednext_fold(const Kernels* kernels, const float* matrix, const double* scale, const double* shift,
                           const double* bias, int64_t depth, int64_t columns, void* packed, float* folded_bias,
                           int64_t threads) {
    return guarded([&]() -> int64_t {
        constexpr int64_t small = 1 << 16;  // starting a thread takes longer
        const std::vector<float> factors(scale, scale + depth);
        const int64_t useful_threads = depth * columns < small ? 1 : threads;
        in_pieces(columns, CHANNELS, useful_threads, 0, [&](int64_t begin, int64_t end, float*) {
            char* target = static_cast<char*>(packed) + begin * depth * kernels->bytes;
            kernels->pack(matrix + begin, factors.data(), depth, end - begin, columns, target);
            double sums[CHANNELS] = {};
            for (int64_t d = 0; d < depth; ++d)
                for (int64_t c = 0; c < CHANNELS; ++c) sums[c] += shift[d] * matrix[d * columns + begin + c];
            for (int64_t c = 0; c < CHANNELS; ++c) folded_bias[begin + c] = static_cast<float>(bias[begin + c] + sums[c]);
        });
        return DONE;
    });
}

// Writes mean and variance of every channel to `mean` and `variance`. The same number of threads gives the same bits.
EXPORTED int64_t mednext_depthwise(const Kernels* kernels, const Depthwise* job, double* mean, double* variance,
                                int64_t threads) {
    return guarded([&]() -> int64_t {
        const int64_t channels = job->channels, rows = job->out_z * job->out_y;
        // Whole planes, since each piece reads the neighbours of its first and last one: a few per thread if there are many.
        const int64_t grain = grain_for(rows, job->out_y, std::max<int64_t>(1, threads / 2)), pieces = (rows + grain - 1) / grain;
        std::vector<double> sums(pieces * 2 * channels, 0.0);
        std::vector<double> counts(pieces, 0.0);
        in_pieces(rows, grain, threads, 0, [&](int64_t begin, int64_t end, float*) {
            const int64_t piece = begin / grain;
            double* own = sums.data() + piece * 2 * channels;
            Moments moments{0.0, own, own + channels};
            kernels->depthwise(*job, begin, end, moments);
            counts[piece] = moments.count;
        });
        double count = 0.0;
        std::fill(mean, mean + channels, 0.0);
        std::fill(variance, variance + channels, 0.0);
        for (int64_t piece = 0; piece < pieces; ++piece) {
            const double* other = sums.data() + piece * 2 * channels;
            const double share = counts[piece] / (count + counts[piece]);
            for (int64_t c = 0; c < channels; ++c) {
                const double difference = other[c] - mean[c];
                mean[c] += difference * share;
                variance[c] += other[channels + c] + difference * difference * share * count;
            }
            count += counts[piece];
        }
        for (int64_t c = 0; c < channels; ++c) variance[c] /= count;
        return DONE;
    });
}

EXPORTED int64_t mednext_pointwise(const Kernels* kernels, const Pointwise* job, int64_t threads) {
    return guarded([&]() -> int64_t {
        const int64_t rows = job->depthwise.out_z * job->depthwise.out_y, hidden = job->hidden;
        const int64_t grain = grain_for(rows, kernels->rows_at_once(*job), threads), pieces = (rows + grain - 1) / grain;
        const int64_t scratch = kernels->pointwise_scratch(*job) / sizeof(float) + 1;
        std::vector<double> squares(job->hidden_squares ? pieces * hidden : 0, 0.0);
        in_pieces(rows, grain, threads, scratch, [&](int64_t begin, int64_t end, float* own) {
            double* of_piece = job->hidden_squares ? squares.data() + begin / grain * hidden : nullptr;
            kernels->pointwise(*job, begin, end, own, of_piece);
        });
        for (size_t i = 0; i < squares.size(); ++i) job->hidden_squares[i % hidden] += squares[i];
        return DONE;
    });
}

constexpr int64_t PIECE_OF_VOXELS = 1 << 14;  // of stem and head

// A 1x1x1 convolution of planes (in_channels, voxels) to (voxels, out_channels).
EXPORTED int64_t mednext_stem(const Kernels* kernels, const float* planes, const float* weights, const float* bias,
                           void* output, int64_t voxels, int64_t in_channels, int64_t out_channels, int64_t threads) {
    return guarded([&]() -> int64_t {
        in_pieces(voxels, PIECE_OF_VOXELS, threads, 0, [=](int64_t begin, int64_t end, float*) {
            kernels->stem(planes, weights, bias, output, begin, end, voxels, in_channels, out_channels);
        });
        return DONE;
    });
}

// A 1x1x1 convolution of (voxels, in_channels) to planes (out_channels, voxels): a segmentation head.
EXPORTED int64_t mednext_head(const Kernels* kernels, const void* input, const void* packed, const float* bias,
                           float* planes, int64_t voxels, int64_t in_channels, int64_t out_channels, int64_t threads) {
    return guarded([&]() -> int64_t {
        in_pieces(voxels, PIECE_OF_VOXELS, threads, 0, [=](int64_t begin, int64_t end, float*) {
            kernels->head(input, packed, bias, planes, begin, end, voxels, in_channels, out_channels);
        });
        return DONE;
    });
}
