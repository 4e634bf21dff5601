// Group norm with one group per channel in channels-last memory, forward and backward.
//
// Tensors are (N, voxels, C) float32; sums over voxels are taken in double.

#include <cmath>

#include "parallel.h"
#include "vector.h"

namespace {

// Sum over voxels of (x - centre)^power for every channel: floats over short runs, doubles over runs.
template <int power>
std::vector<double> channel_moments(const float* x, const float* centre, int64_t voxels, int64_t channels,
                                    int threads) {
    constexpr int64_t chunk = 64;
    std::vector<std::vector<double>> parts(std::max(threads, 1), std::vector<double>(channels, 0.0));
    in_parallel(voxels, threads, [&](int64_t begin, int64_t end, int thread) {
        std::vector<float> run(channels);
        for (int64_t v0 = begin; v0 < end; v0 += chunk) {
            std::fill(run.begin(), run.end(), 0.0f);
            float* __restrict sum = run.data();
            for (int64_t v = v0; v < std::min(v0 + chunk, end); ++v) {
                const float* __restrict value = x + v * channels;
                for (int64_t c = 0; c < channels; ++c) {
                    const float d = value[c] - centre[c];
                    sum[c] += power == 1 ? d : d * d;
                }
            }
            for (int64_t c = 0; c < channels; ++c) parts[thread][c] += run[c];
        }
    });
    std::vector<double> total(channels, 0.0);
    for (const auto& part : parts)
        for (int64_t c = 0; c < channels; ++c) total[c] += part[c];
    return total;
}

}  // namespace

extern "C" {

// Mean and 1 / sqrt(variance + eps) over `voxels` for every (batch, channel).
int channel_statistics(const float* x, float* mean, float* scale, int64_t n, int64_t voxels, int64_t channels,
                        float eps, int threads) try {
    const std::vector<float> zero(channels, 0.0f);
    for (int64_t batch = 0; batch < n; ++batch) {
        const float* in = x + batch * voxels * channels;
        float* average = mean + batch * channels;
        const auto sums = channel_moments<1>(in, zero.data(), voxels, channels, threads);
        for (int64_t c = 0; c < channels; ++c) average[c] = static_cast<float>(sums[c] / voxels);
        // around the mean, not around zero: at the bottleneck the mean is many times the deviation
        const auto squares = channel_moments<2>(in, average, voxels, channels, threads);
        for (int64_t c = 0; c < channels; ++c) {
            scale[batch * channels + c] = static_cast<float>(1.0 / std::sqrt(squares[c] / voxels + eps));
        }
    }
    return DONE;
} OR_OUT_OF_MEMORY

// y = (x - mean) * scale * weight + bias, per (batch, channel).
int normalise(const float* x, const float* mean, const float* scale, const float* weight, const float* bias, float* y,
               int64_t n, int64_t voxels, int64_t channels, int threads) try {
    for (int64_t batch = 0; batch < n; ++batch) {
        std::vector<float> factor(channels), shift(channels);
        for (int64_t c = 0; c < channels; ++c) {
            factor[c] = scale[batch * channels + c] * weight[c];
            shift[c] = bias[c] - mean[batch * channels + c] * factor[c];
        }
        in_parallel(voxels, threads, [&, batch](int64_t begin, int64_t end, int) {
            const float* __restrict f = factor.data();
            const float* __restrict s = shift.data();
            for (int64_t v = begin; v < end; ++v) {
                const float* __restrict in = x + (batch * voxels + v) * channels;
                float* __restrict out = y + (batch * voxels + v) * channels;
                for (int64_t c = 0; c < channels; ++c) out[c] = in[c] * f[c] + s[c];
            }
        });
    }
    return DONE;
} OR_OUT_OF_MEMORY

// Backward of normalise: gradients of x, weight and bias. dx may be dy.
int normalise_backward(const float* x, const float* mean, const float* scale, const float* weight, const float* dy,
                        float* dx, float* dweight, float* dbias, int64_t n, int64_t voxels, int64_t channels,
                        int threads) try {
    std::fill(dweight, dweight + channels, 0.0f);
    std::fill(dbias, dbias + channels, 0.0f);
    for (int64_t batch = 0; batch < n; ++batch) {
        const float* m = mean + batch * channels;
        const float* r = scale + batch * channels;
        std::vector<std::vector<double>> sums(std::max(threads, 1), std::vector<double>(2 * channels, 0.0));
        in_parallel(voxels, threads, [&, batch](int64_t begin, int64_t end, int thread) {
            constexpr int64_t chunk = 256;
            std::vector<float> sum(channels), product(channels);
            for (int64_t v0 = begin; v0 < end; v0 += chunk) {
                std::fill(sum.begin(), sum.end(), 0.0f);
                std::fill(product.begin(), product.end(), 0.0f);
                float* __restrict s = sum.data();
                float* __restrict p = product.data();
                for (int64_t v = v0; v < std::min(v0 + chunk, end); ++v) {
                    const float* __restrict in = x + (batch * voxels + v) * channels;
                    const float* __restrict g = dy + (batch * voxels + v) * channels;
                    for (int64_t c = 0; c < channels; ++c) {
                        s[c] += g[c];
                        p[c] += g[c] * (in[c] - m[c]);
                    }
                }
                for (int64_t c = 0; c < channels; ++c) {
                    sums[thread][c] += s[c];
                    sums[thread][channels + c] += p[c];
                }
            }
        });
        std::vector<float> a(channels), b(channels), d(channels);
        for (int64_t c = 0; c < channels; ++c) {
            double g = 0, gx = 0;
            for (const auto& part : sums) g += part[c], gx += part[channels + c];
            gx *= r[c];  // sum of dy * normalised x
            dbias[c] += static_cast<float>(g);
            dweight[c] += static_cast<float>(gx);
            const double factor = static_cast<double>(r[c]) * weight[c];
            a[c] = static_cast<float>(factor);
            b[c] = static_cast<float>(-factor * gx / voxels * r[c]);
            d[c] = static_cast<float>(-factor * g / voxels) - b[c] * m[c];
        }
        in_parallel(voxels, threads, [&, batch](int64_t begin, int64_t end, int) {
            const float* __restrict pa = a.data();
            const float* __restrict pb = b.data();
            const float* __restrict pd = d.data();
            for (int64_t v = begin; v < end; ++v) {
                const float* in = x + (batch * voxels + v) * channels;
                const float* g = dy + (batch * voxels + v) * channels;
                float* out = dx + (batch * voxels + v) * channels;
                INDEPENDENT for (int64_t c = 0; c < channels; ++c) out[c] = pa[c] * g[c] + pb[c] * in[c] + pd[c];
            }
        });
    }
    return DONE;
} OR_OUT_OF_MEMORY

}  // extern "C"
