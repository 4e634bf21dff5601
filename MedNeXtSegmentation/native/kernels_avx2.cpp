#include "simd_avx2.h"

#include "pointwise.h"

extern const Kernels kernels_avx2;
const Kernels kernels_avx2{"avx2", COLUMNS, depthwise, pointwise, pointwise_scratch, head};
