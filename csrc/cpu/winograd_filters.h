// G g G' of winograd.h for any instruction set. Only winograd_kernels.h includes this; its rules
// apply here too.
#pragma once

#include "winograd.h"

namespace rmnet {

template <class Simd>
struct WinogradFilters {
  using Vector = typename Simd::Vector;

  static constexpr int kLanes = Simd::kLanes;
  static constexpr int64_t kTaps = 9;
  // Number of input channels at a time: their transposed taps fit the first-level cache.
  static constexpr int64_t kDepth = 16;

  // Lanes are output channels, which are far apart in memory: `gather` transposes them first.
  static void transform(const Convolution& convolution, int64_t panel) {
    alignas(64) float taps[kDepth * kTaps * kPanel] = {}, scale[kPanel];
    const int64_t first = panel * kPanel, left = convolution.out_channels - first;
    const int64_t lanes = left < kPanel ? left : kPanel;
    for (int64_t lane = 0; lane < kPanel; ++lane) {
      scale[lane] = convolution.scale && lane < lanes ? convolution.scale[first + lane] : 1.0f;
    }
    float* const transformed =
        convolution.transformed + panel * kElements * convolution.filter_stride();
    for (int64_t c = 0; c < convolution.channels; c += kDepth) {
      const int64_t channels_left = convolution.channels - c;
      const int64_t depth = channels_left < kDepth ? channels_left : kDepth;
      for (int64_t lane = 0; lane < lanes; ++lane) {
        const Filters& filters = convolution.filters;
        gather(filters,
               filters.start + (first + lane) * filters.out_channel_stride +
                   c * filters.channel_stride,
               depth, taps + lane);
      }
      for (int64_t i = 0; i < depth; ++i) {
        for (int64_t lane = 0; lane < kPanel; lane += kLanes) {
          transform_some(taps + i * kTaps * kPanel + lane, Simd::load(scale + lane),
                         transformed + (c + i) * kPanel + lane, convolution.filter_stride());
        }
      }
    }
  }

  // Copies the filters of one output channel to one lane of each vector.
  static void gather(const Filters& filters, const float* from, int64_t depth, float* taps) {
    for (int64_t c = 0; c < depth; ++c) {
      for (int64_t i = 0; i < 3; ++i) {
        for (int64_t j = 0; j < 3; ++j) {
          taps[((c * 3 + i) * 3 + j) * kPanel] =
              from[c * filters.channel_stride + i * filters.row_stride + j * filters.column_stride];
        }
      }
    }
  }

  static void transform_some(const float* taps, Vector scale, float* to, int64_t step) {
    Vector rows[kPatch][3];
    for (int j = 0; j < 3; ++j) {
      Vector g[3], v[kPatch];
      for (int i = 0; i < 3; ++i) {
        g[i] = Simd::multiply(scale, Simd::load(taps + (i * 3 + j) * kPanel));
      }
      evaluate(g, v);
      for (int i = 0; i < kPatch; ++i) rows[i][j] = v[i];
    }
    for (int i = 0; i < kPatch; ++i) {
      Vector v[kPatch];
      evaluate(rows[i], v);
      for (int j = 0; j < kPatch; ++j) Simd::store(to + (i * kPatch + j) * step, v[j]);
    }
  }

  // G g for one row or column g: a polynomial at the points, divided by the factors that the
  // polynomials of the patch have in excess.
  static void evaluate(const Vector (&g)[3], Vector (&v)[kPatch]) {
    constexpr double aa = kPointA * kPointA, bb = kPointB * kPointB;
    v[0] = Simd::multiply(Simd::broadcast(1 / (aa * bb)), g[0]);
    evaluate_pair(kPointA, 1 / (2 * aa * (aa - bb)), g, v[1], v[2]);
    evaluate_pair(kPointB, 1 / (2 * bb * (bb - aa)), g, v[3], v[4]);
    v[5] = g[2];
  }

  // Evaluates at p and at -p, times a factor.
  static void evaluate_pair(double p, double factor, const Vector (&g)[3], Vector& plus,
                            Vector& minus) {
    const Vector even = Simd::multiply_add(Simd::broadcast(p * p), g[2], g[0]);
    const Vector odd = Simd::multiply(Simd::broadcast(p), g[1]);
    plus = Simd::multiply(Simd::broadcast(factor), Simd::add(even, odd));
    minus = Simd::multiply(Simd::broadcast(factor), Simd::subtract(even, odd));
  }
};

}  // namespace rmnet
