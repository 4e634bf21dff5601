// The jobs of resampling, and the functions of an instruction set for them. All values are float32.
#pragma once

#include <cstdint>

// A matrix that is zero away from its diagonal: row r is zero outside of the columns first[r] to stop[r] - 1.
// Python sets the first two lines; weight_bands.h computes the others.
struct Band {
    const float* values;  // (rows, columns)
    int64_t rows, columns;
    const int64_t *first, *stop;
    const float* packed;           // transposed blocks of rows, for products with the matrix on the right
    const int64_t* packed_blocks;  // where each of them begins in `packed`
};

// One axis of (before, length, after) is resampled: every output row is a weighted sum of input rows.
struct Resampling {
    const float* source;  // (before, weights.columns, after)
    float* target;        // (before, weights.rows, after)
    int64_t before, after;
    Band weights;
};

// Predictions on the model's grid to labels on the source grid. Each row of a weight matrix has at most two nonzero
// weights, which are neighbours: nearest or linear interpolation.
struct Labelling {
    const float* values;  // (channels, rows, lines, columns), lines and columns contiguous
    int64_t channels, channel_step, row_step;
    Band rows, lines, columns;  // (output, input) voxels along each axis
    int64_t classes;            // the first channels determine the label, the last ones the uncertainty
    const float* regions;       // the label that each channel above the threshold paints, in order; null for arg max
    float threshold;
    int64_t label_bytes;  // 1 or 2
    void* labels;         // may be a view: `label_steps` are the strides of rows, lines and columns in voxels
    int64_t label_steps[3];
    float* uncertainty;   // or null
    int64_t uncertainty_steps[3];
    float entropy_scale;  // 1 / the largest entropy
};

// Work is split over `before` where `after` is 1, and else over strips of `strip_width` columns of `after`; labels over
// lines. `scratch` belongs to one thread.
struct ResamplingKernels {
    int64_t columns;  // of a packed block
    int64_t strip_width;
    void (*resample_last)(const Resampling&, int64_t first_line, int64_t last_line);
    void (*resample_strips)(const Resampling&, int64_t first_strip, int64_t last_strip, float* scratch);
    void (*label)(const Labelling&, int64_t first_line, int64_t last_line, float* scratch);
    int64_t (*label_scratch)(const Labelling&);
};
