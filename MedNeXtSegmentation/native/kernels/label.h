// Compute labels and their uncertainty on the source grid from predictions on the model's, line by line: only the
// interpolated predictions of one line exist at a time.
#pragma once

#include "kernels/resample.h"

namespace {

// Floats of a line of the output, in whole vectors, and of a line of the input, padded since two vectors are read from
// any place.
inline int64_t wide_of(const Labelling& job) { return (job.columns.rows + Vec::lanes - 1) / Vec::lanes * Vec::lanes; }
inline int64_t width_of(const Labelling& job) { return job.columns.columns + 2 * Vec::lanes; }

// The two neighbours of an output voxel along one axis and their weights; a single neighbour is both.
struct Neighbours {
    int64_t first, second;
    float first_weight, second_weight;
};

inline Neighbours neighbours_of(const Band& band, int64_t row) {
    const float* weights = band.values + row * band.columns;
    const int64_t first = band.first[row], last = band.stop[row] - 1;
    return {first, last, weights[first], first == last ? 0.0f : weights[last]};
}

// The neighbours along a line, for each voxel of the output. If all neighbours are `near`, within two vectors from the
// first one of their output vector, places count from there; else from the beginning of the line.
struct Columns {
    float *begin, *first, *second, *first_weight, *second_weight;
    bool near;

    static int64_t scratch(const Labelling& job) { return 5 * wide_of(job); }

    Columns(const Labelling& job, float* scratch) : near(true) {
        const int64_t wide = wide_of(job), count = job.columns.rows;
        begin = scratch, first = begin + wide, second = first + wide;
        first_weight = second + wide, second_weight = first_weight + wide;
        for (int64_t x = 0; x < wide; ++x) {
            const Neighbours found = x < count ? neighbours_of(job.columns, x) : Neighbours{0, 0, 0.0f, 0.0f};
            first[x] = static_cast<float>(found.first), second[x] = static_cast<float>(found.second);
            first_weight[x] = found.first_weight, second_weight[x] = found.second_weight;
        }
        for (int64_t x = 0; x < wide; x += Vec::lanes) {
            const int64_t stop = x + Vec::lanes < count ? x + Vec::lanes : count;
            float last = second[x];
            begin[x] = first[x];
            for (int64_t v = x + 1; v < stop; ++v) {
                if (first[v] < begin[x]) begin[x] = first[v];
                if (second[v] > last) last = second[v];
            }
            near = near && last - begin[x] < 2 * Vec::lanes;
        }
        for (int64_t x = 0; near && x < count; ++x) {
            const float start = begin[x / Vec::lanes * Vec::lanes];
            first[x] -= start, second[x] -= start;
        }
    }
};

// Interpolates line `line` of every channel between two rows, `(channels, width_of)`.
inline void between_rows(const Labelling& job, const Neighbours& rows, int64_t line, float* target) {
    const int64_t width = job.columns.columns;
    const float first_weight = rows.first_weight, second_weight = rows.second_weight;
    for (int64_t c = 0; c < job.channels; ++c, target += width_of(job)) {
        const float* first = job.values + c * job.channel_step + rows.first * job.row_step + line * width;
        const float* second = first + (rows.second - rows.first) * job.row_step;
        for (int64_t x = 0; x < width; ++x) target[x] = first_weight * first[x] + second_weight * second[x];
    }
}

// Interpolates these lines along the line, `(channels, wide_of)`.
inline void expand(const Labelling& job, const Columns& columns, const float* lines, float* target) {
    const int64_t width = width_of(job), wide = wide_of(job);
    for (int64_t x = 0; columns.near && x < wide; x += Vec::lanes) {
        const float* line = lines + static_cast<int64_t>(columns.begin[x]);
        const Places first = Places::of(Vec::load(columns.first + x)), second = Places::of(Vec::load(columns.second + x));
        const Vec first_weight = Vec::load(columns.first_weight + x), second_weight = Vec::load(columns.second_weight + x);
        for (int64_t c = 0; c < job.channels; ++c, line += width) {
            const Vec one = first_weight * pick(line, first);
            fma(second_weight, pick(line, second), one).store(target + c * wide + x);
        }
    }
    for (int64_t c = 0; !columns.near && c < job.channels; ++c, lines += width, target += wide)
        for (int64_t x = 0; x < wide; ++x)
            target[x] = columns.first_weight[x] * lines[static_cast<int64_t>(columns.first[x])] +
                        columns.second_weight[x] * lines[static_cast<int64_t>(columns.second[x])];
}

// Interpolates between two expanded lines, a vector of voxels at a time.
struct BetweenLines {
    const float *first, *second;
    Vec first_weight, second_weight;
    int64_t wide;

    Vec at(int64_t channel, int64_t x) const {
        const Vec one = first_weight * Vec::load(first + channel * wide + x);
        return fma(second_weight, Vec::load(second + channel * wide + x), one);
    }
};

// The labels as floats; of several largest values the first one wins.
inline Vec decide(const Labelling& job, const BetweenLines& values, int64_t x) {
    Vec label = Vec::all(0.0f);
    if (job.regions) {
        const Vec threshold = Vec::all(job.threshold);
        for (int64_t c = 0; c < job.classes; ++c)
            label = where_greater(values.at(c, x), threshold, Vec::all(job.regions[c]), label);
        return label;
    }
    Vec best = values.at(0, x);
    for (int64_t c = 1; c < job.classes; ++c) {
        const Vec value = values.at(c, x);
        label = where_greater(value, best, Vec::all(static_cast<float>(c)), label);
        best = larger(value, best);
    }
    return label;
}

// ln(x) for x in [1e-37, 1] with an error of at most 1e-7 * max(1, |ln x|): 2 artanh((m - 1) / (m + 1)) of the mantissa.
inline Vec logarithm(Vec x) {
    const Vec one = Vec::all(1.0f), m = mantissa(x), s = (m - one) / (m + one), square = s * s;
    Vec series = Vec::all(2.0f / 15.0f);
    for (int n = 13; n > 0; n -= 2) series = fma(series, square, Vec::all(2.0f / n));
    return fma(exponent(x), Vec::all(0.693147181f), series * s);
}

inline Vec p_log_p(Vec p) { return p * logarithm(larger(p, Vec::all(1e-37f))); }

// Predictive entropy in [0, 1], as postprocessing.entropy defines it.
inline Vec entropy(const Labelling& job, const BetweenLines& values, int64_t x, Vec scale) {
    const Vec zero = Vec::all(0.0f), one = Vec::all(1.0f);
    Vec sum = zero;
    for (int64_t c = job.channels - job.classes; c < job.channels; ++c) {
        const Vec p = smaller(larger(values.at(c, x), zero), one);
        sum = sum - p_log_p(p);
        if (job.regions) sum = sum - p_log_p(one - p);
    }
    return smaller(larger(sum * scale, zero), one);
}

template <typename T>
void store_line(const float* line, int64_t count, void* target, int64_t offset, int64_t step) {
    T* out = static_cast<T*>(target) + offset;
    if (step == 1) {
        for (int64_t i = 0; i < count; ++i) out[i] = static_cast<T>(line[i]);
    } else {
        for (int64_t i = 0; i < count; ++i) out[i * step] = static_cast<T>(line[i]);
    }
}

// `decided` is scratch memory of one line.
inline void write_line(const Labelling& job, const BetweenLines& values, int64_t row, int64_t line, float* decided) {
    const int64_t *steps = job.label_steps, *others = job.uncertainty_steps;
    const int64_t count = job.columns.rows, offset = row * steps[0] + line * steps[1];
    for (int64_t x = 0; x < values.wide; x += Vec::lanes) decide(job, values, x).store(decided + x);
    if (job.label_bytes == 1) store_line<uint8_t>(decided, count, job.labels, offset, steps[2]);
    else store_line<uint16_t>(decided, count, job.labels, offset, steps[2]);
    if (!job.uncertainty) return;
    const Vec scale = Vec::all(job.entropy_scale);
    for (int64_t x = 0; x < values.wide; x += Vec::lanes) entropy(job, values, x, scale).store(decided + x);
    store_line<float>(decided, count, job.uncertainty, row * others[0] + line * others[1], others[2]);
}

int64_t label_scratch(const Labelling& job) {
    return job.channels * (width_of(job) + 2 * wide_of(job)) + wide_of(job) + Columns::scratch(job);
}

// Computes lines of the output, in order of (row, line), and keeps the two expanded lines around the last one.
void label(const Labelling& job, int64_t first_line, int64_t last_line, float* scratch) {
    const int64_t wide = wide_of(job);
    float* between = scratch;
    float* expanded[2] = {between + job.channels * width_of(job), nullptr};
    expanded[1] = expanded[0] + job.channels * wide;
    float* decided = expanded[1] + job.channels * wide;
    const Columns columns(job, decided + wide);
    int64_t held_row = -1, held[2] = {-1, -1};
    for (int64_t item = first_line; item < last_line; ++item) {
        const int64_t row = item / job.lines.rows, line = item % job.lines.rows;
        const Neighbours rows = neighbours_of(job.rows, row), lines = neighbours_of(job.lines, line);
        if (row != held_row) held[0] = held[1] = -1;
        held_row = row;
        for (int64_t needed = lines.first; needed <= lines.second; ++needed) {
            const int64_t slot = needed % 2;
            if (held[slot] == needed) continue;
            between_rows(job, rows, needed, between);
            expand(job, columns, between, expanded[slot]);
            held[slot] = needed;
        }
        const BetweenLines values{expanded[lines.first % 2], expanded[lines.second % 2], Vec::all(lines.first_weight),
                                  Vec::all(lines.second_weight), wide};
        write_line(job, values, row, line, decided);
    }
}

constexpr ResamplingKernels resampling{COLUMNS, STRIP_WIDTH, resample_last, resample_strips, label, label_scratch};

}  // namespace
