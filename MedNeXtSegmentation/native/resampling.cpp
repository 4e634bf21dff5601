// Both resampling steps, as Python calls them: see native_resampling.py. `kernels` are those of float32.

#include "bands.h"
#include "exported.h"
#include "jobs.h"
#include "threads.h"

// Resamples one axis of (before, weights.columns, after) to (before, weights.rows, after).
EXPORTED void mednext_resample(const Kernels* kernels, const Resampling* given, int64_t threads) {
    const ResamplingKernels& chosen = *kernels->resampling;
    const bool last = given->after == 1;
    const CompleteBand weights(given->weights, last ? chosen.columns : 0);
    Resampling job = *given;
    job.weights = weights.band();
    if (last) {
        in_parallel(job.before, 1, threads,
                    [&](int64_t begin, int64_t end, int64_t) { chosen.resample_last(job, begin, end); });
        return;
    }
    const int64_t strips = job.before * ((job.after + chosen.strip_width - 1) / chosen.strip_width);
    in_parallel(strips, 1, threads, [&](int64_t begin, int64_t end, int64_t) {
        std::vector<float> scratch(job.weights.columns * chosen.strip_width);
        chosen.resample_strips(job, begin, end, scratch.data());
    });
}

// Labels (rows.rows, lines.rows, columns.rows) from predictions; returns whether the weights are as `Labelling` says.
EXPORTED int64_t mednext_label(const Kernels* kernels, const Labelling* given, int64_t threads) {
    const ResamplingKernels& chosen = *kernels->resampling;
    const CompleteBand rows(given->rows, 0), lines(given->lines, 0), columns(given->columns, chosen.columns);
    if (rows.widest() > 2 || lines.widest() > 2 || columns.widest() > 2) return 0;
    Labelling job = *given;
    job.rows = rows.band(), job.lines = lines.band(), job.columns = columns.band();
    in_parallel(job.rows.rows * job.lines.rows, 1, threads, [&](int64_t begin, int64_t end, int64_t) {
        std::vector<float> scratch(chosen.label_scratch(job));
        chosen.label(job, begin, end, scratch.data());
    });
    return 1;
}
