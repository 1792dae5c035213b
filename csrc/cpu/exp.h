// exp for vectors of any width.
#pragma once

namespace rmnet {

// e^x for x <= 0, for a softmax: relative error below 2e-7; at least 1e-38, so that no result is
// denormal.
//
// With x = n ln 2 + r and |r| <= ln 2 / 2, e^x = 2^n e^r; a polynomial approximates e^r.
// Source: Cephes' expf, for the coefficients and the split of ln 2 into two parts.
template <class Simd>
inline typename Simd::Vector exp_of_negative(typename Simd::Vector x) {
  x = Simd::max(x, Simd::broadcast(-87.3f));
  const auto n = Simd::round(Simd::multiply(x, Simd::broadcast(1.44269504088896341f)));
  auto r = Simd::multiply_add(n, Simd::broadcast(-0.693359375f), x);
  r = Simd::multiply_add(n, Simd::broadcast(2.12194440e-4f), r);
  auto p = Simd::broadcast(1.9875691500e-4f);
  p = Simd::multiply_add(p, r, Simd::broadcast(1.3981999507e-3f));
  p = Simd::multiply_add(p, r, Simd::broadcast(8.3334519073e-3f));
  p = Simd::multiply_add(p, r, Simd::broadcast(4.1665795894e-2f));
  p = Simd::multiply_add(p, r, Simd::broadcast(1.6666665459e-1f));
  p = Simd::multiply_add(p, r, Simd::broadcast(5.0000001201e-1f));
  p = Simd::multiply_add(p, Simd::multiply(r, r), Simd::add(r, Simd::broadcast(1.0f)));
  return Simd::times_power_of_two(p, n);
}

}  // namespace rmnet
