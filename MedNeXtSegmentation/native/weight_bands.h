// Find the band of nonzero weights in each row of a resampling matrix, and pack it.
#pragma once

#include <algorithm>
#include <vector>

#include "resampling_jobs.h"

class CompleteBand {
public:
    // If `block` is not 0, packs blocks of this many rows: transposed, and padded with zeros.
    CompleteBand(const Band& matrix, int64_t block) : band_(matrix), first_(matrix.rows), stop_(matrix.rows) {
        for (int64_t r = 0; r < matrix.rows; ++r) {
            const float* row = matrix.values + r * matrix.columns;
            const auto used = [](float weight) { return weight != 0.0f; };
            first_[r] = std::find_if(row, row + matrix.columns - 1, used) - row;  // at least one column
            stop_[r] = matrix.columns;
            while (stop_[r] > first_[r] + 1 && !used(row[stop_[r] - 1])) --stop_[r];
        }
        band_.first = first_.data(), band_.stop = stop_.data();
        for (int64_t row = 0; block && row < matrix.rows; row += block) pack(row, block);
        band_.packed = packed_.data(), band_.packed_blocks = blocks_.data();
    }
    CompleteBand(const CompleteBand&) = delete;
    CompleteBand& operator=(const CompleteBand&) = delete;

    const Band& band() const { return band_; }

    // The largest number of nonzero columns in a row.
    int64_t widest() const {
        int64_t widest = 0;
        for (size_t r = 0; r < first_.size(); ++r) widest = std::max(widest, stop_[r] - first_[r]);
        return widest;
    }

private:
    void pack(int64_t row, int64_t block) {
        const int64_t end = std::min(row + block, band_.rows);
        const int64_t first = *std::min_element(first_.begin() + row, first_.begin() + end);
        const int64_t stop = *std::max_element(stop_.begin() + row, stop_.begin() + end);
        blocks_.push_back(static_cast<int64_t>(packed_.size()));
        packed_.resize(packed_.size() + (stop - first) * block, 0.0f);
        float* target = packed_.data() + blocks_.back();
        for (int64_t r = row; r < end; ++r) {
            const float* weights = band_.values + r * band_.columns;
            for (int64_t c = first; c < stop; ++c) target[(c - first) * block + r - row] = weights[c];
        }
    }

    Band band_;
    std::vector<int64_t> first_, stop_, blocks_;
    std::vector<float> packed_;
};
