// Depthwise 3D convolution in channels-last memory, forward and backward.
//
// Tensors are (N, Z, Y, X, C) float32, kernels (k, k, k, C) with k = 3, 5 or 7; C is a multiple of 16. Channels lie in the
// lanes, and the sums of several voxels in the registers; torch's own backward of these layers is many times slower.

#include "parallel.h"
#include "vector.h"

namespace {

struct Shape {
    int64_t z, y, x;
};

// One weight of the kernel along a row: output p takes `weight` times the voxel in_step * p + shift of the row at `in`.
struct Tap {
    const float *weight, *in;
    int64_t shift;
};

// Positions p of [0, outputs) with 0 <= step * p + shift < size.
struct Span {
    int64_t begin, end;
};

inline Span inside(int64_t outputs, int64_t size, int64_t step, int64_t shift) {
    const int64_t begin = shift >= 0 ? 0 : (step - 1 - shift) / step;
    const int64_t end = shift < size ? (size - 1 - shift) / step + 1 : 0;
    return {std::min(begin, outputs), std::max(std::min(begin, outputs), std::min(end, outputs))};
}

// Rows of voxels: `size` at the input, `outputs` at the output, where each is out_step voxels behind the one before.
struct Rows {
    int64_t size, in_step, outputs, out_step, channels;
};

// Where sums begin: at a value for each channel, at those of a row like the output's, or at zero.
struct Begin {
    const float *bias, *row;
    Begin of_row(int64_t offset) const { return {bias, row ? row + offset : nullptr}; }
    Vec at(int64_t channel, int64_t place) const {
        return bias ? load(bias + channel) : row ? load(row + place + channel) : Vec{};
    }
};

// Outputs p to p + P of V vectors of channels, for taps that are all inside there.
template <int P, int V>
inline void sum_taps(const std::vector<Tap>& taps, const Rows& rows, Begin begin, int64_t p, int64_t channel,
                     float* out) {
    Vec sum[P][V];
    const auto place = [&](int i) { return (p + i) * rows.out_step * rows.channels; };
    UNROLLED for (int i = 0; i < P; ++i)
        UNROLLED for (int v = 0; v < V; ++v) sum[i][v] = begin.at(channel + v * LANES, place(i));
    const int64_t step = rows.in_step * rows.channels;
    for (const Tap& tap : taps) {
        const float* in = tap.in + p * step + tap.shift * rows.channels + channel;
        UNROLLED for (int v = 0; v < V; ++v) {
            const Vec weight = load(tap.weight + channel + v * LANES);
            UNROLLED for (int i = 0; i < P; ++i) sum[i][v] += weight * load(in + i * step + v * LANES);
        }
    }
    UNROLLED for (int i = 0; i < P; ++i)
        UNROLLED for (int v = 0; v < V; ++v) store(sum[i][v], out + place(i) + channel + v * LANES);
}

template <int P>
inline void sum_taps(const std::vector<Tap>& taps, const Rows& rows, Begin begin, int64_t p, float* out) {
    int64_t channel = 0;
    for (; channel + 2 * LANES <= rows.channels; channel += 2 * LANES)
        sum_taps<P, 2>(taps, rows, begin, p, channel, out);
    for (; channel < rows.channels; channel += LANES) sum_taps<P, 1>(taps, rows, begin, p, channel, out);
}

// A row of outputs. `some` is scratch memory.
void convolve_row(const std::vector<Tap>& taps, const Rows& rows, Begin begin, float* out, std::vector<Tap>& some) {
    Span all{0, rows.outputs};  // where no tap is outside
    for (const Tap& tap : taps) {
        const Span span = inside(rows.outputs, rows.size, rows.in_step, tap.shift);
        all = {std::max(all.begin, span.begin), std::min(all.end, span.end)};
    }
    for (int64_t p = 0; p < rows.outputs;) {
        if (p >= all.begin && p + ROWS <= all.end) {
            sum_taps<ROWS>(taps, rows, begin, p, out);
            p += ROWS;
            continue;
        }
        some.clear();
        for (const Tap& tap : taps) {
            const int64_t place = rows.in_step * p + tap.shift;
            if (place >= 0 && place < rows.size) some.push_back(tap);
        }
        sum_taps<1>(some, rows, begin, p++, out);
    }
}

// A line is one row of a tensor.
struct Line {
    int64_t batch, z, y;
    Line(int64_t number, Shape size) : batch(number / (size.z * size.y)), z(number / size.y % size.z), y(number % size.y) {}
};

inline int64_t row_of(int64_t batch, int64_t z, int64_t y, Shape size) {
    return ((batch * size.z + z) * size.y + y) * size.x;
}

// K weights along a row: gradient[t] += sum over p of a[p] * b[stride * p + t - K / 2].
template <int K, int V>
inline void sum_products(const float* a, const float* b, const Rows& rows, int64_t channel, float* gradient) {
    Vec sum[K][V] = {};
    const int64_t step = rows.in_step * rows.channels;
    const auto add = [&](int64_t p, auto wanted) {
        const float* place = b + p * step - K / 2 * rows.channels + channel;
        UNROLLED for (int v = 0; v < V; ++v) {
            const Vec value = load(a + p * rows.channels + channel + v * LANES);
            UNROLLED for (int t = 0; t < K; ++t)
                if (wanted(t)) sum[t][v] += value * load(place + t * rows.channels + v * LANES);
        }
    };
    const int64_t first = inside(rows.outputs, rows.size, rows.in_step, -(K / 2)).begin;
    const int64_t last = std::max(first, inside(rows.outputs, rows.size, rows.in_step, K / 2).end);
    const auto edge = [&](int64_t p) {
        add(p, [&](int t) {
            const int64_t place = rows.in_step * p + t - K / 2;
            return place >= 0 && place < rows.size;
        });
    };
    for (int64_t p = 0; p < first; ++p) edge(p);
    for (int64_t p = first; p < last; ++p) add(p, [](int) { return true; });
    for (int64_t p = last; p < rows.outputs; ++p) edge(p);
    UNROLLED for (int t = 0; t < K; ++t) UNROLLED for (int v = 0; v < V; ++v) {
        float* place = gradient + t * rows.channels + channel + v * LANES;
        store(load(place) + sum[t][v], place);
    }
}

template <int K>
void sum_products(const float* a, const float* b, const Rows& rows, float* gradient) {
    int64_t channel = 0;
    for (; channel + 2 * LANES <= rows.channels; channel += 2 * LANES)
        sum_products<K, 2>(a, b, rows, channel, gradient);
    for (; channel < rows.channels; channel += LANES) sum_products<K, 1>(a, b, rows, channel, gradient);
}

}  // namespace

extern "C" {

// small[o] = bias[channel] or begun[o] + sum over taps of kernel[t] * large[stride * o + t - k/2]; both may be null.
int depthwise_gather(const float* large, const float* kernel, const float* bias, const float* begun, float* small,
                      int64_t n, Shape large_size, Shape small_size, int64_t channels, int64_t k, int64_t stride,
                      int threads) try {
    const Rows rows{large_size.x, stride, small_size.x, 1, channels};
    in_parallel(n * small_size.z * small_size.y, threads, [=](int64_t begin, int64_t end, int) {
        std::vector<Tap> taps, some;
        for (int64_t number = begin; number < end; ++number) {
            const Line line(number, small_size);
            taps.clear();
            for (int64_t t = 0; t < k * k; ++t) {
                const int64_t z = stride * line.z + t / k - k / 2, y = stride * line.y + t % k - k / 2;
                if (z < 0 || z >= large_size.z || y < 0 || y >= large_size.y) continue;
                const float* in = large + row_of(line.batch, z, y, large_size) * channels;
                for (int64_t x = 0; x < k; ++x) taps.push_back({kernel + (t * k + x) * channels, in, x - k / 2});
            }
            const int64_t place = number * small_size.x * channels;
            convolve_row(taps, rows, Begin{bias, begun}.of_row(place), small + place, some);
        }
    });
    return DONE;
} OR_OUT_OF_MEMORY

// large[stride * o + t - k/2] += kernel[t] * small[o]: the transpose of depthwise_gather, begun likewise. Every stride-th
// output of a row meets the same taps.
int depthwise_scatter(const float* small, const float* kernel, const float* bias, const float* begun, float* large,
                       int64_t n, Shape large_size, Shape small_size, int64_t channels, int64_t k, int64_t stride,
                       int threads) try {
    in_parallel(n * large_size.z * large_size.y, threads, [=](int64_t begin, int64_t end, int) {
        std::vector<Tap> taps, some;
        for (int64_t number = begin; number < end; ++number) {
            const Line line(number, large_size);
            for (int64_t first = 0; first < std::min(stride, large_size.x); ++first) {
                taps.clear();
                for (int64_t t = 0; t < k * k * k; ++t) {
                    const int64_t z = line.z + k / 2 - t / (k * k), y = line.y + k / 2 - t / k % k, x = first + k / 2 - t % k;
                    if (z < 0 || z % stride || z / stride >= small_size.z) continue;
                    if (y < 0 || y % stride || y / stride >= small_size.y || x % stride) continue;
                    const float* in = small + row_of(line.batch, z / stride, y / stride, small_size) * channels;
                    taps.push_back({kernel + t * channels, in, x / stride});
                }
                const Rows rows{small_size.x, 1, (large_size.x - first + stride - 1) / stride, stride, channels};
                const int64_t place = (number * large_size.x + first) * channels;
                convolve_row(taps, rows, Begin{bias, begun}.of_row(place), large + place, some);
            }
        }
    });
    return DONE;
} OR_OUT_OF_MEMORY

// kernel_gradient[t] = sum over o of small[o] * large[stride * o + t - k/2]
int depthwise_kernel_gradient(const float* large, const float* small, float* gradient, int64_t n, Shape large_size,
                               Shape small_size, int64_t channels, int64_t k, int64_t stride, int threads) try {
    const Rows rows{large_size.x, stride, small_size.x, 1, channels};
    const auto row_gradient = k == 3 ? sum_products<3> : k == 5 ? sum_products<5> : sum_products<7>;
    const int64_t weights = k * k * k * channels;
    std::vector<std::vector<float>> partial(std::max(threads, 1), std::vector<float>(weights, 0.0f));
    in_parallel(n * small_size.z * small_size.y, threads, [&](int64_t begin, int64_t end, int thread) {
        for (int64_t number = begin; number < end; ++number) {
            const Line line(number, small_size);
            for (int64_t t = 0; t < k * k; ++t) {
                const int64_t z = stride * line.z + t / k - k / 2, y = stride * line.y + t % k - k / 2;
                if (z < 0 || z >= large_size.z || y < 0 || y >= large_size.y) continue;
                row_gradient(small + number * small_size.x * channels,
                             large + row_of(line.batch, z, y, large_size) * channels, rows,
                             partial[thread].data() + t * k * channels);
            }
        }
    });
    for (int64_t i = 0; i < weights; ++i) {
        float total = 0.0f;
        for (const auto& part : partial) total += part[i];
        gradient[i] = total;
    }
    return DONE;
} OR_OUT_OF_MEMORY

}  // extern "C"
