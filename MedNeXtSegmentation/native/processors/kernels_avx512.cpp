#if defined(__x86_64__) || defined(_M_X64)  // a universal build compiles each file for each processor

#include "network_jobs.h"
#include "processors/simd_avx512.h"
#include "processors/element_float.h"
#include "processors/gelu_cubic.h"

#include "kernels/stem_and_head.h"
#include "kernels/label.h"
#include "kernels/pointwise.h"

extern const Kernels kernels_avx512;
const Kernels kernels_avx512{"avx512", sizeof(Element), channel_at, pack, depthwise, pointwise, pointwise_scratch,
                             rows_at_once, stem, head, &resampling};

#endif
