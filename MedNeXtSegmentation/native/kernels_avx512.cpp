#include "simd_avx512.h"

#include "pointwise.h"

extern const Kernels kernels_avx512;
const Kernels kernels_avx512{"avx512", COLUMNS, depthwise, pointwise, pointwise_scratch, head};
