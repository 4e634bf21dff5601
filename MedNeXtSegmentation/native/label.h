// Labels and their uncertainty on the source grid from predictions on the model's: the interpolated predictions of one
// line of voxels exist at a time.
#pragma once

#include "resample.h"

namespace {

inline int64_t blocks_of(const Labelling& job) { return (job.columns.rows + COLUMNS - 1) / COLUMNS; }

int64_t label_scratch(const Labelling& job) {
    return job.channels * (job.columns.columns + 2 * blocks_of(job) * COLUMNS);
}

// The two neighbours of an output voxel along one axis and their weights; the second is the first where there is one.
struct Neighbours {
    int64_t first, second;
    float first_weight, second_weight;
};

inline Neighbours neighbours_of(const Band& band, int64_t row) {
    const float* weights = band.values + row * band.columns;
    const int64_t first = band.first[row], last = band.stop[row] - 1;
    return {first, last, weights[first], first == last ? 0.0f : weights[last]};
}

// Line `line` of every channel between two rows, `(channels, width)`.
inline void between_rows(const Labelling& job, const Neighbours& rows, int64_t line, float* target) {
    const int64_t width = job.columns.columns;
    const float first_weight = rows.first_weight, second_weight = rows.second_weight;
    for (int64_t c = 0; c < job.channels; ++c, target += width) {
        const float* first = job.values + c * job.channel_step + rows.first * job.row_step + line * width;
        const float* second = first + (rows.second - rows.first) * job.row_step;
        for (int64_t x = 0; x < width; ++x) target[x] = first_weight * first[x] + second_weight * second[x];
    }
}

// ... and then along the line, `(channels, wide)`.
inline void expand(const Labelling& job, const float* lines, float* target) {
    const int64_t width = job.columns.columns, wide = blocks_of(job) * COLUMNS;
    for (int64_t column = 0, block = 0; column < wide; column += COLUMNS, ++block) {
        const int64_t last = column + COLUMNS < job.columns.rows ? column + COLUMNS : job.columns.rows;
        const Span span = span_of(job.columns, column, last);
        gemm(lines + span.first, width, job.columns.packed + job.columns.packed_blocks[block], nullptr, job.channels,
             span.stop - span.first, COLUMNS, target + column, wide, Store{});
    }
}

// Between two expanded lines, a vector of voxels at a time.
struct BetweenLines {
    const float *first, *second;
    Vec first_weight, second_weight;
    int64_t wide;

    Vec at(int64_t channel, int64_t x) const {
        const Vec one = first_weight * Vec::load(first + channel * wide + x);
        return fma(second_weight, Vec::load(second + channel * wide + x), one);
    }
};

// As floats. The first of several largest wins.
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

// ln(x) for x in [1e-37, 1], right to 1e-7 * max(1, |ln x|): 2 artanh((m - 1) / (m + 1)) of the mantissa.
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
void store_labels(const Vec& labels, int64_t count, T* target, int64_t step) {
    float values[Vec::lanes];
    labels.store(values);
    for (int64_t i = 0; i < count; ++i) target[i * step] = static_cast<T>(values[i]);
}

inline void write_line(const Labelling& job, const BetweenLines& values, int64_t row, int64_t line) {
    const int64_t *steps = job.label_steps, *others = job.uncertainty_steps;
    const int64_t offset = row * steps[0] + line * steps[1];
    float* uncertainty = job.uncertainty + (job.uncertainty ? row * others[0] + line * others[1] : 0);
    for (int64_t x = 0; x < job.columns.rows; x += Vec::lanes) {
        const int64_t count = x + Vec::lanes <= job.columns.rows ? Vec::lanes : job.columns.rows - x;
        const Vec label = decide(job, values, x);
        if (job.label_bytes == 1) {
            store_labels(label, count, static_cast<uint8_t*>(job.labels) + offset + x * steps[2], steps[2]);
        } else {
            store_labels(label, count, static_cast<uint16_t*>(job.labels) + offset + x * steps[2], steps[2]);
        }
        if (!job.uncertainty) continue;
        float unknown[Vec::lanes];
        entropy(job, values, x, Vec::all(job.entropy_scale)).store(unknown);
        for (int64_t i = 0; i < count; ++i) uncertainty[(x + i) * others[2]] = unknown[i];
    }
}

// Lines of the output, in order of (row, line). The two expanded lines around the last one are kept for the next.
void label(const Labelling& job, int64_t first_line, int64_t last_line, float* scratch) {
    const int64_t wide = blocks_of(job) * COLUMNS;
    float* between = scratch;
    float* expanded[2] = {scratch + job.channels * job.columns.columns, nullptr};
    expanded[1] = expanded[0] + job.channels * wide;
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
            expand(job, between, expanded[slot]);
            held[slot] = needed;
        }
        const BetweenLines values{expanded[lines.first % 2], expanded[lines.second % 2], Vec::all(lines.first_weight),
                                  Vec::all(lines.second_weight), wide};
        write_line(job, values, row, line);
    }
}

constexpr ResamplingKernels resampling{COLUMNS, STRIP_WIDTH, resample_last, resample_strips, label, label_scratch};

}  // namespace
