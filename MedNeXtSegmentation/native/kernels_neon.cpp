#if defined(__aarch64__) || defined(_M_ARM64)  // a universal build compiles each file for each processor

#include "network_jobs.h"
#include "simd_neon.h"
#include "element_float.h"
#include "gelu_polynomial.h"

#include "stem_and_head.h"
#include "label.h"
#include "pointwise.h"

extern const Kernels kernels_neon;
const Kernels kernels_neon{"neon", sizeof(Element), channel_at, pack, depthwise, pointwise, pointwise_scratch,
                           rows_at_once, stem, head, &resampling};

#endif
