#if defined(__aarch64__) || defined(_M_ARM64)  // a universal build compiles each file for each processor

#include "network_jobs.h"
#include "processors/simd_neon.h"
#include "processors/element_float.h"
#include "processors/gelu_polynomial.h"

#include "kernels/stem_and_head.h"
#include "kernels/label.h"
#include "kernels/pointwise.h"

extern const Kernels kernels_neon;
const Kernels kernels_neon{"neon", sizeof(Element), channel_at, pack, depthwise, pointwise, pointwise_scratch,
                           rows_at_once, stem, head, &resampling};

#endif
