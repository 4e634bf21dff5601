// Pass A of a block: the depthwise convolution, row by row, and the statistics of its output.
#pragma once

#include "processors/prefetch.h"
#include "network_jobs.h"

namespace {

// The input of an output and a tap along one axis; -1 if there is none.
inline int64_t input_of(int64_t stride, int64_t o, int64_t tap, int64_t pad, int64_t size) {
    int64_t i = stride == DOWN ? 2 * o + tap - pad : o + tap - pad;
    if (stride == UP) {
        i = o + pad - tap;
        if (i < 0 || i % 2) return -1;
        i /= 2;
    }
    return i < size ? i : -1;
}

// An input row and its row of the kernel.
struct Tap {
    const Element* input;
    const float* kernel;
};

// Writes all taps of the output row (z, y) to `taps`; returns their number.
inline int64_t find_taps(const Depthwise& job, int64_t z, int64_t y, Tap* taps) {
    const int64_t pad = job.k / 2;
    int64_t count = 0;
    for (int64_t tz = 0; tz < job.k; ++tz) {
        const int64_t iz = input_of(job.stride, z, tz, pad, job.in_z);
        if (iz < 0) continue;
        for (int64_t ty = 0; ty < job.k; ++ty) {
            const int64_t iy = input_of(job.stride, y, ty, pad, job.in_y);
            if (iy < 0) continue;
            taps[count++] = {static_cast<const Element*>(job.input) + (iz * job.in_y + iy) * job.in_x * job.channels,
                             job.kernel + (tz * job.k + ty) * job.k * job.channels};
        }
    }
    return count;
}

// The row of the last input plane that the next output row needs, but the row (z, y) does not.
inline const Element* next_input(const Depthwise& job, int64_t z, int64_t y) {
    const int64_t pad = job.k / 2;
    const int64_t plane = job.stride == DOWN ? 2 * z + 1 : job.stride == UP ? (z + pad) / 2 : z + pad;
    const int64_t row = job.stride == DOWN ? 2 * y + job.k - pad : job.stride == UP ? (y + pad) / 2 + 1 : y + 1 + pad;
    const int64_t iz = plane < job.in_z ? plane : job.in_z - 1, iy = row < job.in_y ? row : job.in_y - 1;
    return static_cast<const Element*>(job.input) + (iz * job.in_y + iy) * job.in_x * job.channels;
}

// Whether to write the output past the caches, since it is too large to stay there until the second pass.
inline bool is_streamed(const Depthwise& job) {
    constexpr int64_t caches = 32 * 1024 * 1024, line = 64;
    const int64_t bytes = job.out_z * job.out_y * job.out_x * job.channels * static_cast<int64_t>(sizeof(Element));
    return bytes > caches && reinterpret_cast<uintptr_t>(job.output) % line == 0;
}

// Adds one input row to POSITIONS outputs of one output row. K taps; `first` is the input of relative position 0.
// A transposed tap reads where an ordinary one writes, so one loop over the inputs serves all three strides.
template <int K, int STRIDE, int PART, bool EDGE>
ALWAYS_INLINE void add_row(Vec (&sum)[POSITIONS], const Element* row, const float* kernel, int64_t first, int64_t size,
                           int64_t channels) {
    constexpr int pad = K / 2;
    constexpr int begin = STRIDE == UP ? -(K - 1 - pad) / 2 : -pad;
    constexpr int end = STRIDE == UP ? (POSITIONS - 1 + pad) / 2 + 1
                        : STRIDE == DOWN ? 2 * (POSITIONS - 1) - pad + K
                                         : POSITIONS - pad + K - 1;
    Vec weight[K];
    unrolled<0, K>([&](auto tap) { weight[tap] = Vec::load(kernel + tap * channels); });
    const Element* next = row + (first + begin) * channels;
    unrolled<begin, end>([&](auto relative) {
        constexpr int j = decltype(relative)::value;
        const int64_t position = first + j;
        const Element* at = next;
        next += channels;
        if (EDGE && (position < 0 || position >= size)) return;
        const Vec value = load_part<PART>(at);
        unrolled<0, K>([&](auto tap) {
            constexpr int t = decltype(tap)::value;
            constexpr int o = STRIDE == UP ? 2 * j - pad + t : STRIDE == DOWN ? (j + pad - t) / 2 : j + pad - t;
            constexpr bool reaches = STRIDE != DOWN || (j + pad - t) % 2 == 0;
            if constexpr (reaches && o >= 0 && o < POSITIONS) sum[o] = fma(value, weight[t], sum[o]);
        });
    });
}

// The statistics of one row of the output, for one vector of channels.
struct RowSums {
    Vec pivot, sum, squares;  // sums of (x - pivot) and its square: a mean far from zero loses no digits
};

// Computes one row of the output and its statistics, for one vector of channels. `output` may be null (UP). Prefetches
// this vector's share of the next row's input, from `wanted` on, and output; DOWN needs four new rows of the input, and
// little output.
template <int K, int STRIDE, int PART, bool STREAM>
RowSums depthwise_lanes(const Depthwise& job, const Tap* taps, int64_t count, int64_t lane, Element* output,
                        const Element* wanted) {
    constexpr int pad = K / 2;
    constexpr int64_t bytes = Vec::lanes * sizeof(Element), new_rows = STRIDE == DOWN ? 2 : 1;
    constexpr int64_t lines = Prefetch::share(POSITIONS * new_rows * new_rows * bytes, K * K);
    const Element* plane_before = wanted - job.in_y * job.in_x * job.channels;
    Prefetch inputs(wanted + lane * job.in_x * new_rows, bytes * job.in_x * new_rows);
    Prefetch others(wanted, 0);
    if (STRIDE == DOWN) others = Prefetch(plane_before + lane * job.in_x * new_rows, bytes * job.in_x * new_rows);
    else if (STRIDE == SAME && !STREAM) others = Prefetch(output + (job.channels + lane) * job.out_x, bytes * job.out_x);
    RowSums sums{Vec::all(0.0f), Vec::all(0.0f), Vec::all(0.0f)};
    for (int64_t x = 0; x < job.out_x; x += POSITIONS) {
        const int64_t first = STRIDE == DOWN ? 2 * x : STRIDE == UP ? x / 2 : x;
        const int64_t reach = STRIDE == DOWN ? 2 * POSITIONS + K : STRIDE == UP ? POSITIONS / 2 + K : POSITIONS + K;
        const bool inside = first >= pad && first + reach <= job.in_x && x + POSITIONS <= job.out_x;
        Vec sum[POSITIONS];
        unrolled<0, POSITIONS>([&](auto o) { sum[o] = Vec::all(0.0f); });
        for (const Tap* tap = taps; tap < taps + count; ++tap) {
            const Element* row = tap->input + lane - PART * Vec::lanes;
            const float* kernel = tap->kernel + lane;
            for (int i = 0; i < lines; ++i) inputs.next(), others.next();
            if (inside) add_row<K, STRIDE, PART, false>(sum, row, kernel, first, job.in_x, job.channels);
            else add_row<K, STRIDE, PART, true>(sum, row, kernel, first, job.in_x, job.channels);
        }
        if (x == 0) sums.pivot = sum[0];
        const int64_t last = job.out_x - x < POSITIONS ? job.out_x - x : POSITIONS;
        Element* target = output + x * job.channels + lane;
        unrolled<0, POSITIONS>([&](auto o) {
            if (o >= last) return;
            if (STREAM) stream(sum[o], target + o * job.channels);
            else if (output) store(sum[o], target + o * job.channels);
            const Vec deviation = sum[o] - sums.pivot;
            sums.sum = sums.sum + deviation;
            sums.squares = fma(deviation, deviation, sums.squares);
        });
    }
    return sums;
}

// Called by pointer, since compilers make slower code of the inlined function.
using DepthwiseLanes = RowSums (*)(const Depthwise&, const Tap*, int64_t, int64_t, Element*, const Element*);

template <int PART, bool STREAM>
DepthwiseLanes depthwise_for(int64_t k, int64_t stride) {
    static constexpr DepthwiseLanes table[3][3] = {
        {depthwise_lanes<3, SAME, PART, STREAM>, depthwise_lanes<3, DOWN, PART, false>, depthwise_lanes<3, UP, PART, false>},
        {depthwise_lanes<5, SAME, PART, STREAM>, depthwise_lanes<5, DOWN, PART, false>, depthwise_lanes<5, UP, PART, false>},
        {depthwise_lanes<7, SAME, PART, STREAM>, depthwise_lanes<7, DOWN, PART, false>, depthwise_lanes<7, UP, PART, false>},
    };
    return table[(k - 3) / 2][stride];
}

// Merges a row into the moments of its channels (Chan's parallel variance).
inline void add_row_sums(Moments& moments, const RowSums& row, int64_t lane, int64_t voxels) {
    float pivot[Vec::lanes], sum[Vec::lanes], squares[Vec::lanes];
    row.pivot.store(pivot), row.sum.store(sum), row.squares.store(squares);
    const double share = voxels / (moments.count + voxels);
    for (int c = 0; c < Vec::lanes; ++c) {
        const double shift = sum[c] / static_cast<double>(voxels);
        const double difference = pivot[c] + shift - moments.mean[lane + c];
        moments.mean[lane + c] += difference * share;
        moments.squares[lane + c] += squares[c] - sum[c] * shift + difference * difference * share * moments.count;
    }
}

// Computes the output row (z, y) in all channels; `output` and `moments` may be null.
inline void depthwise_row(const Depthwise& job, int64_t z, int64_t y, Element* output, Moments* moments) {
    DepthwiseLanes parts[] = {depthwise_for<0, false>(job.k, job.stride), depthwise_for<PARTS - 1, false>(job.k, job.stride)};
    if constexpr (PARTS == 1)
        if (is_streamed(job)) parts[0] = depthwise_for<0, true>(job.k, job.stride);
    Tap taps[7 * 7];
    const int64_t count = find_taps(job, z, y, taps);
    const Element* wanted = next_input(job, z, y);
    for (int64_t lane = 0; lane < job.channels; lane += Vec::lanes) {
        const RowSums sums = parts[lane / Vec::lanes % PARTS](job, taps, count, lane, output, wanted);
        if (moments) add_row_sums(*moments, sums, lane, job.out_x);
    }
    if (moments) moments->count += static_cast<double>(job.out_x);
}

// Rows of one plane that are computed before those of the next: with their neighbours they stay in a second-level cache.
inline int64_t rows_in_cache(const Depthwise& job) {
    constexpr int64_t bytes = 512 * 1024;
    const int64_t input_rows = bytes / (job.in_x * job.channels * static_cast<int64_t>(sizeof(Element)) * job.k);
    const int64_t rows = (input_rows - job.k + 1) / (job.stride == DOWN ? 2 : 1);
    return rows > 1 ? rows : 1;
}

void depthwise(const Depthwise& job, int64_t first_row, int64_t last_row, Moments& moments) {
    const int64_t first_z = first_row / job.out_y, last_z = (last_row + job.out_y - 1) / job.out_y;
    const int64_t step = rows_in_cache(job);
    for (int64_t block = 0; block < job.out_y; block += step) {
        for (int64_t z = first_z; z < last_z; ++z) {
            for (int64_t y = block; y < block + step && y < job.out_y; ++y) {
                const int64_t row = z * job.out_y + y, start = row * job.out_x * job.channels;
                if (row < first_row || row >= last_row) continue;
                Element* output = job.output ? static_cast<Element*>(job.output) + start : nullptr;
                depthwise_row(job, z, y, output, &moments);
            }
        }
    }
}

}  // namespace
