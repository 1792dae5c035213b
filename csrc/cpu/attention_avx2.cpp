// attention.h for x86 processors with AVX2, FMA and F16C.
#include "attention.h"

#ifdef RMNET_X86

// Shared headers come first: code that other files use too must not contain AVX2, FMA or F16C.
#include <immintrin.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,f16c")
#endif

#include "attention_kernels.h"
#include "simd_avx2.h"

namespace rmnet {

// Constant-initialised: no code of this file may run before the processor has been checked.
const AttentionTable avx2_attention = attention_table<SimdAvx2>();

}  // namespace rmnet

#ifdef __clang__
#pragma clang attribute pop
#endif

#endif
