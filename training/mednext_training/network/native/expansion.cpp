// Norm, expansion, GELU and compression of a block, in pieces that stay in the caches, forward and backward.
//
// Tensors are (N, voxels, C) float32; weights are those of the 1x1x1 convolutions, (hidden, in) and (out, hidden), and
// all three are multiples of 32. The hidden activations, many times as large as the input, are never stored: the
// backward pass computes them again, which takes less time than writing and reading them.

#include <utility>

#include "gelu.h"
#include "parallel.h"
#include "product.h"

namespace {

struct Sizes {
    int64_t n, voxels, in, hidden, out;
};

// The norm: y = (x - mean) * scale * weight + bias, with mean and scale for every (batch, channel).
struct Norm {
    const float *mean, *scale, *weight, *bias;
};

// Voxels of a piece: its hidden activations fit into a core's cache.
inline int64_t piece_of(const Sizes& size) { return std::clamp<int64_t>(65536 / size.hidden / ROWS * ROWS, 32, 128); }

// A row of scratch memory: rows a power of two apart would share few lines of the cache.
inline int64_t padded(int64_t columns) { return columns + 16; }

// Calls work(batch, first voxel, voxels, thread) for all pieces.
template <typename Work>
void in_pieces(const Sizes& size, int threads, Work work) {
    const int64_t piece = piece_of(size), pieces = (size.voxels + piece - 1) / piece;
    in_parallel(size.n * pieces, threads, [&, piece, pieces](int64_t begin, int64_t end, int thread) {
        for (int64_t i = begin; i < end; ++i) {
            const int64_t first = i % pieces * piece;
            work(i / pieces, first, std::min(piece, size.voxels - first), thread);
        }
    });
}

inline void normalise_piece(const float* x, const Norm& norm, int64_t batch, int64_t voxels, int64_t channels, float* y) {
    const float* mean = norm.mean + batch * channels;
    const float* scale = norm.scale + batch * channels;
    for (int64_t v = 0; v < voxels; ++v)
        for (int64_t c = 0; c < channels; c += LANES) {
            const Vec factor = load(scale + c) * load(norm.weight + c);
            store((load(x + v * channels + c) - load(mean + c)) * factor + load(norm.bias + c), y + v * padded(channels) + c);
        }
}

inline void add_rows(const float* rows, int64_t count, int64_t step, int64_t columns, float* sum) {
    for (int64_t c = 0; c < columns; c += LANES) {
        Vec total = load(sum + c);
        for (int64_t r = 0; r < count; ++r) total += load(rows + r * step + c);
        store(total, sum + c);
    }
}

inline void add_parts(const std::vector<std::vector<float>>& parts, int64_t first, int64_t count, float* total) {
    std::fill(total, total + count, 0.0f);
    for (const auto& part : parts)
        for (int64_t i = 0; i < count && !part.empty(); ++i) total[i] += part[first + i];  // empty: it had no piece
}

}  // namespace

extern "C" {

// y = compression(gelu(expansion(norm(x)))) + residual, which may be null.
int expand_and_compress(const float* x, const float* mean, const float* scale, const float* weight, const float* bias,
                         const float* expansion, const float* expansion_bias, const float* compression,
                         const float* compression_bias, const float* residual, float* y, int64_t n, int64_t voxels,
                         int64_t in, int64_t hidden, int64_t out, int threads) try {
    const Sizes size{n, voxels, in, hidden, out};
    const Norm norm{mean, scale, weight, bias};
    const Packed expand(expansion, in, hidden, true), compress(compression, hidden, out, true);
    const int64_t piece = piece_of(size), wide = padded(hidden);
    std::vector<std::vector<float>> scratch(std::max(threads, 1));
    in_pieces(size, threads, [&](int64_t batch, int64_t first, int64_t count, int thread) {
        scratch[thread].resize(piece * (padded(in) + wide));
        float* normed = scratch[thread].data();
        float* activated = normed + piece * padded(in);
        const int64_t voxel = batch * voxels + first;
        normalise_piece(x + voxel * in, norm, batch, count, in, normed);
        product(normed, padded(in), 1, expand.blocks(), count, in, hidden,
                [=](int64_t, int64_t c) { return load(expansion_bias + c); },
                [=](int64_t r, int64_t c, Vec sum) { store(gelu(sum).value, activated + r * wide + c); });
        const int64_t place = voxel * out;
        product(activated, wide, 1, compress.blocks(), count, hidden, out,
                [=](int64_t r, int64_t c) {
                    const Vec start = load(compression_bias + c);
                    return residual ? start + load(residual + place + r * out + c) : start;
                },
                [=](int64_t r, int64_t c, Vec sum) { store(sum, y + place + r * out + c); });
    });
    return DONE;
} OR_OUT_OF_MEMORY

// Gradients of all of it but the norm, whose output's is `dnormed`.
int expand_and_compress_backward(const float* x, const float* mean, const float* scale, const float* weight,
                                  const float* bias, const float* expansion, const float* expansion_bias,
                                  const float* compression, const float* dy, float* dnormed, float* dexpansion,
                                  float* dexpansion_bias, float* dcompression, float* dcompression_bias, int64_t n,
                                  int64_t voxels, int64_t in, int64_t hidden, int64_t out, int threads) try {
    const Sizes size{n, voxels, in, hidden, out};
    const Norm norm{mean, scale, weight, bias};
    const Packed expand(expansion, in, hidden, true), back(expansion, hidden, in, false), up(compression, out, hidden, false);
    const int64_t piece = piece_of(size), wide = padded(hidden), narrow = padded(in), weights = hidden * in;
    const auto zeros = [](int64_t, int64_t) { return Vec{}; };
    const auto add_to = [](float* total, int64_t columns) {
        return std::pair([=](int64_t r, int64_t c) { return load(total + r * columns + c); },
                         [=](int64_t r, int64_t c, Vec sum) { store(sum, total + r * columns + c); });
    };
    std::vector<std::vector<float>> scratch(std::max(threads, 1)), sums(std::max(threads, 1));
    in_pieces(size, threads, [&](int64_t batch, int64_t first, int64_t count, int thread) {
        scratch[thread].resize(piece * (narrow + 2 * wide));
        sums[thread].resize(weights + hidden + out * hidden + out);
        float* normed = scratch[thread].data();
        float* activated = normed + piece * narrow;
        float* gradient = activated + piece * wide;  // first the slope of GELU, then times that of its result
        float* of_expansion = sums[thread].data();
        float* of_compression = of_expansion + weights + hidden;
        const int64_t voxel = batch * voxels + first;
        const float* given = dy + voxel * out;
        normalise_piece(x + voxel * in, norm, batch, count, in, normed);
        product(normed, narrow, 1, expand.blocks(), count, in, hidden,
                [=](int64_t, int64_t c) { return load(expansion_bias + c); },
                [=](int64_t r, int64_t c, Vec sum) {
                    const Gelu result = gelu(sum);
                    store(result.value, activated + r * wide + c);
                    store(result.slope, gradient + r * wide + c);
                });
        product(given, out, 1, up.blocks(), count, out, hidden, zeros, [=](int64_t r, int64_t c, Vec sum) {
            float* place = gradient + r * wide + c;
            store(sum * load(place), place);
        });
        const auto compression_sum = add_to(of_compression, hidden);
        product(given, 1, out, as_it_lies(activated, wide), out, count, hidden, compression_sum.first,
                compression_sum.second);
        const auto expansion_sum = add_to(of_expansion, in);
        product(gradient, 1, wide, as_it_lies(normed, narrow), hidden, count, in, expansion_sum.first,
                expansion_sum.second);
        add_rows(gradient, count, wide, hidden, of_expansion + weights);
        add_rows(given, count, out, out, of_compression + out * hidden);
        float* target = dnormed + voxel * in;
        product(gradient, wide, 1, back.blocks(), count, hidden, in, zeros,
                [=](int64_t r, int64_t c, Vec sum) { store(sum, target + r * in + c); });
    });
    add_parts(sums, 0, weights, dexpansion);
    add_parts(sums, weights, hidden, dexpansion_bias);
    add_parts(sums, weights + hidden, out * hidden, dcompression);
    add_parts(sums, weights + hidden + out * hidden, out, dcompression_bias);
    return DONE;
} OR_OUT_OF_MEMORY

}  // extern "C"
