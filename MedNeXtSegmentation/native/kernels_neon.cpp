#include "simd_neon.h"

#include "pointwise.h"

extern const Kernels kernels_neon;
const Kernels kernels_neon{"neon", COLUMNS, depthwise, pointwise, pointwise_scratch, head};
