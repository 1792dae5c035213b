// Eight floats at a time with AVX2, FMA and F16C. Include only below a matching `#pragma GCC
// target`.
#pragma once

#include <immintrin.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include "exp.h"

namespace rmnet {

struct SimdAvx2 {
  static constexpr int kLanes = 8;
  static constexpr int kTileRows = 6;  // 6 x 2 sums, 2 vectors of B, 1 of A: 15 of 16 registers
  static constexpr int kQueries = 48;

  using Vector = __m256;
  using Narrow = SimdAvx2;  // has at most eight lanes
  using Half = torch::headeronly::Half;
  using BFloat16 = torch::headeronly::BFloat16;

  static Vector broadcast(float x) { return _mm256_set1_ps(x); }

  static Vector load(const float* p) { return _mm256_loadu_ps(p); }
  static Vector load(const Half* p) { return _mm256_cvtph_ps(load_8x16(p)); }
  static Vector load(const BFloat16* p) {
    const __m256i bits = _mm256_cvtepu16_epi32(load_8x16(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(bits, 16));
  }

  static void store(float* p, Vector v) { _mm256_storeu_ps(p, v); }
  static void store(Half* p, Vector v) {
    store_8x16(p, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }
  static void store(BFloat16* p, Vector v) {
    // Rounds to nearest, ties to even; NaN stays NaN.
    const __m256i bits = _mm256_castps_si256(v);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i bias = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
    const __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(bits, bias), 16);
    const __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    const __m256i chosen = _mm256_blendv_epi8(rounded, _mm256_set1_epi32(0x7fc0), is_nan);
    store_8x16(
        p, _mm_packus_epi32(_mm256_castsi256_si128(chosen), _mm256_extracti128_si256(chosen, 1)));
  }

  static Vector add(Vector a, Vector b) { return _mm256_add_ps(a, b); }
  static Vector subtract(Vector a, Vector b) { return _mm256_sub_ps(a, b); }
  static Vector multiply(Vector a, Vector b) { return _mm256_mul_ps(a, b); }
  static Vector multiply_add(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
  static Vector max(Vector a, Vector b) { return _mm256_max_ps(a, b); }
  static Vector min(Vector a, Vector b) { return _mm256_min_ps(a, b); }
  static Vector round(Vector a) {
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  static Vector times_power_of_two(Vector a, Vector n) {
    const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_mul_ps(a, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)));
  }
  static Vector exp(Vector a) { return exp_of_negative<SimdAvx2>(a); }

 private:
  static __m128i load_8x16(const void* p) {
    return _mm_loadu_si128(static_cast<const __m128i*>(p));
  }
  static void store_8x16(void* p, __m128i v) { _mm_storeu_si128(static_cast<__m128i*>(p), v); }
};

}  // namespace rmnet
