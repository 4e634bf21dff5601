// Resample along one axis, by small matrix products with the nonzero part of the weights.
#pragma once

#include "kernels/gemm.h"
#include "resampling_jobs.h"

namespace {

constexpr int64_t STRIP_WIDTH = 4 * COLUMNS;  // columns copied together: reads are long, and all rows fit into the cache

// The columns that the rows [first_row, last_row) of a band need.
struct Span {
    int64_t first, stop;
};

inline Span span_of(const Band& band, int64_t first_row, int64_t last_row) {
    Span span{band.first[first_row], band.stop[first_row]};
    for (int64_t row = first_row + 1; row < last_row; ++row) {
        if (band.first[row] < span.first) span.first = band.first[row];
        if (band.stop[row] > span.stop) span.stop = band.stop[row];
    }
    return span;
}

inline void copy_tile(const float* tile, int64_t rows, int64_t columns, float* target, int64_t target_step) {
    for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < columns; ++c) target[r * target_step + c] = tile[r * COLUMNS + c];
}

// Resamples the last axis: lines (before, length) times the packed transposed weights.
void resample_last(const Resampling& job, int64_t first_line, int64_t last_line) {
    const Band& weights = job.weights;
    const int64_t length = weights.columns, wanted = weights.rows;
    float edge[ROWS * COLUMNS];
    for (int64_t line = first_line; line < last_line; line += ROWS) {
        const int64_t lines = line + ROWS <= last_line ? ROWS : last_line - line;
        const float* source = job.source + line * length;
        float* target = job.target + line * wanted;
        for (int64_t column = 0, block = 0; column < wanted; column += COLUMNS, ++block) {
            const bool whole = column + COLUMNS <= wanted;
            const Span span = span_of(weights, column, whole ? column + COLUMNS : wanted);
            gemm(source + span.first, length, weights.packed + weights.packed_blocks[block], nullptr, lines,
                 span.stop - span.first, COLUMNS, whole ? target + column : edge, whole ? wanted : COLUMNS, Store{});
            if (!whole) copy_tile(edge, lines, wanted - column, target + column, wanted);
        }
    }
}

// Resamples strips of (length, STRIP_WIDTH), in order of (before, after): the weights times a copy of the strip.
void resample_strips(const Resampling& job, int64_t first_strip, int64_t last_strip, float* scratch) {
    const Band& weights = job.weights;
    const int64_t length = weights.columns, wanted = weights.rows;
    const int64_t strips = (job.after + STRIP_WIDTH - 1) / STRIP_WIDTH;
    float edge[ROWS * COLUMNS];
    for (int64_t strip = first_strip; strip < last_strip; ++strip) {
        const int64_t begin = strip % strips * STRIP_WIDTH;
        const int64_t width = begin + STRIP_WIDTH <= job.after ? STRIP_WIDTH : job.after - begin;
        const float* source = job.source + strip / strips * length * job.after + begin;
        float* target = job.target + strip / strips * wanted * job.after + begin;
        for (int64_t k = 0; k < length; ++k)
            for (int64_t column = 0; column < width; column += COLUMNS)
                copy_tile(source + k * job.after + column, 1, COLUMNS < width - column ? COLUMNS : width - column,
                          scratch + (column * length + k * COLUMNS), COLUMNS);
        for (int64_t row = 0; row < wanted; row += ROWS) {
            const int64_t rows = row + ROWS <= wanted ? ROWS : wanted - row;
            const Span span = span_of(weights, row, row + rows);
            const float* band = weights.values + row * length + span.first;
            for (int64_t column = 0; column < width; column += COLUMNS) {
                const bool whole = column + COLUMNS <= width;
                float* out = target + row * job.after + column;
                gemm(band, length, scratch + column * length + span.first * COLUMNS, nullptr, rows,
                     span.stop - span.first, COLUMNS, whole ? out : edge, whole ? job.after : COLUMNS, Store{});
                if (!whole) copy_tile(edge, rows, width - column, out, job.after);
            }
        }
    }
}

}  // namespace
