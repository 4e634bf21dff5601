// The exported functions for resampling; inference/resampling/native.py calls them. `kernels` are those of float32.

#include "weight_bands.h"
#include "exported_functions.h"
#include "network_jobs.h"
#include "threads.h"

namespace {

constexpr int64_t PIECE_OF_LINES = 48;  // lines that a thread takes at a time, since they share neighbours

}  // namespace

// Resamples one axis of (before, weights.columns, after) to (before, weights.rows, after).
EXPORTED int64_t mednext_resample(const Kernels* kernels, const Resampling* given, int64_t threads) {
    return guarded([&]() -> int64_t {
        const ResamplingKernels& chosen = *kernels->resampling;
        const bool last = given->after == 1;
        const CompleteBand weights(given->weights, last ? chosen.columns : 0);
        Resampling job = *given;
        job.weights = weights.band();
        if (last) {
            in_pieces(job.before, PIECE_OF_LINES, threads, 0,
                      [&](int64_t begin, int64_t end, float*) { chosen.resample_last(job, begin, end); });
            return DONE;
        }
        const int64_t strips = job.before * ((job.after + chosen.strip_width - 1) / chosen.strip_width);
        const int64_t scratch = job.weights.columns * chosen.strip_width;
        in_pieces(strips, 1, threads, scratch, [&](int64_t begin, int64_t end, float* own) {
            chosen.resample_strips(job, begin, end, own);
        });
        return DONE;
    });
}

// Labels (rows.rows, lines.rows, columns.rows) from predictions; NOT_NEIGHBOURS for other weights than those of `Labelling`.
EXPORTED int64_t mednext_label(const Kernels* kernels, const Labelling* given, int64_t threads) {
    return guarded([&]() -> int64_t {
        const ResamplingKernels& chosen = *kernels->resampling;
        const CompleteBand rows(given->rows, 0), lines(given->lines, 0), columns(given->columns, 0);
        if (rows.widest() > 2 || lines.widest() > 2 || columns.widest() > 2) return NOT_NEIGHBOURS;
        Labelling job = *given;
        job.rows = rows.band(), job.lines = lines.band(), job.columns = columns.band();
        in_pieces(job.rows.rows * job.lines.rows, PIECE_OF_LINES, threads, chosen.label_scratch(job),
                  [&](int64_t begin, int64_t end, float* own) { chosen.label(job, begin, end, own); });
        return DONE;
    });
}
