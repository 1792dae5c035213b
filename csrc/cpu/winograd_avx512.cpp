// winograd.h for x86 processors with AVX-512.
#include "winograd.h"

#ifdef RMNET_X86

// Shared headers come first: code that other files use too must not contain AVX-512.
#include <immintrin.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512vl,fma")
// GCC 12 warns about its own headers: https://gcc.gnu.org/bugzilla/show_bug.cgi?id=105593
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

#include "simd_avx512.h"
#include "winograd_kernels.h"

namespace rmnet {

// Constant-initialised: no code of this file may run before the processor has been checked.
const WinogradKernels avx512_winograd = winograd_kernels<SimdAvx512>();

}  // namespace rmnet

#ifdef __clang__
#pragma clang attribute pop
#endif

#endif
