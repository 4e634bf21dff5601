#if (defined(__x86_64__) || defined(_M_X64)) && defined(MEDNEXT_BF16)  // a universal build compiles each file for each processor

#include "network_jobs.h"
#include "processors/simd_avx512.h"
#include "processors/element_bf16.h"
#include "processors/gelu_quadratic.h"

#include "kernels/stem_and_head.h"
#include "kernels/pointwise.h"

extern const Kernels kernels_avx512_bf16;
const Kernels kernels_avx512_bf16{"avx512_bf16", sizeof(Element), channel_at, pack, depthwise, pointwise, pointwise_scratch,
                                  rows_at_once, stem, head, nullptr};

#endif
