// inverted_residual.h for x86 processors with AVX-512.
#include "inverted_residual.h"

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

#include "inverted_residual_strip.h"
#include "simd_avx512.h"

namespace rmnet {

// Constant-initialised: no code of this file may run before the processor has been checked.
const InvertedResidualKernels avx512_inverted_residual = inverted_residual_kernels<SimdAvx512>();

}  // namespace rmnet

#ifdef __clang__
#pragma clang attribute pop
#endif

#endif
