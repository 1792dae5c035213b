// Sixteen floats at a time with AVX-512. Include only below a matching `#pragma GCC target`.
#pragma once

#include <immintrin.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include "exp.h"

namespace rmnet {

// Eight floats at a time, for remainders.
struct SimdAvx512Narrow {
  static constexpr int kLanes = 8;

  using Vector = __m256;

  static Vector broadcast(float x) { return _mm256_set1_ps(x); }
  static Vector load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, Vector v) { _mm256_storeu_ps(p, v); }
  static Vector add(Vector a, Vector b) { return _mm256_add_ps(a, b); }
  static Vector multiply_add(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
};

struct SimdAvx512 {
  static constexpr int kLanes = 16;
  static constexpr int kTileRows = 12;  // 12 x 2 sums in 32 registers
  static constexpr int kQueries = 96;

  using Vector = __m512;
  using Narrow = SimdAvx512Narrow;
  using Half = torch::headeronly::Half;
  using BFloat16 = torch::headeronly::BFloat16;

  static Vector broadcast(float x) { return _mm512_set1_ps(x); }

  static Vector load(const float* p) { return _mm512_loadu_ps(p); }
  static Vector load(const Half* p) { return _mm512_cvtph_ps(load_16x16(p)); }
  static Vector load(const BFloat16* p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(load_16x16(p)), 16));
  }

  static void store(float* p, Vector v) { _mm512_storeu_ps(p, v); }
  static void store(Half* p, Vector v) {
    store_16x16(p, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }
  static void store(BFloat16* p, Vector v) {
    // Rounds to nearest, ties to even; NaN stays NaN.
    const __m512i bits = _mm512_castps_si512(v);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i bias = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
    const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, bias), 16);
    const __mmask16 is_nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    store_16x16(p, _mm512_cvtepi32_epi16(
                       _mm512_mask_mov_epi32(rounded, is_nan, _mm512_set1_epi32(0x7fc0))));
  }

  static Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
  static Vector subtract(Vector a, Vector b) { return _mm512_sub_ps(a, b); }
  static Vector multiply(Vector a, Vector b) { return _mm512_mul_ps(a, b); }
  static Vector multiply_add(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
  static Vector max(Vector a, Vector b) { return _mm512_max_ps(a, b); }
  static Vector min(Vector a, Vector b) { return _mm512_min_ps(a, b); }
  static Vector round(Vector a) {
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  static Vector times_power_of_two(Vector a, Vector n) { return _mm512_scalef_ps(a, n); }
  static Vector exp(Vector a) { return exp_of_negative<SimdAvx512>(a); }

 private:
  static __m256i load_16x16(const void* p) {
    return _mm256_loadu_si256(static_cast<const __m256i*>(p));
  }
  static void store_16x16(void* p, __m256i v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }
};

}  // namespace rmnet
