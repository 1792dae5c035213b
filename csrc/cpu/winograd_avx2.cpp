// winograd.h for x86 processors with AVX2, FMA and F16C.
#include "winograd.h"

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

#include "simd_avx2.h"
#include "winograd_kernels.h"

namespace rmnet {

// Constant-initialised: no code of this file may run before the processor has been checked.
const WinogradKernels avx2_winograd = winograd_kernels<SimdAvx2>();

}  // namespace rmnet

#ifdef __clang__
#pragma clang attribute pop
#endif

#endif
