// The three steps of an inverted residual block, for consecutive pixels of a row. Only
// inverted_residual_strip.h includes this.
//
// Pragmas unroll every loop over sums, and the three functions are never inlined: otherwise GCC 12
// keeps sums in memory, and some blocks take up to 1.4 times as long.
#pragma once

#include "inverted_residual.h"

namespace rmnet {

template <class Simd>
struct InvertedResidualSteps {
  using Vector = typename Simd::Vector;
  using Narrow = typename Simd::Narrow;  // has at most kNarrowGroup lanes
  using NarrowVector = typename Narrow::Vector;

  static constexpr int kLanes = Simd::kLanes;
  static constexpr int kVectors = kPanelChannels / kLanes;  // per pixel of a panel or group
  static constexpr int kNarrowVectors = kNarrowGroup / Narrow::kLanes;
  static_assert(kPanelChannels % kLanes == 0 && kNarrowGroup % Narrow::kLanes == 0);

  // Number of pixels in a tile of registers of this width. More than eight are slower, even if
  // there are enough registers.
  static constexpr int pixels(int vectors) {
    constexpr int kMost = Simd::kTileRows < 8 ? Simd::kTileRows : 8;
    return vectors <= 2 ? kMost : 2 * kMost / vectors;
  }

  // NaN stays NaN: min and max return their second operand if either is NaN.
  static Vector relu6(Vector v) {
    return Simd::min(Simd::broadcast(6.0f), Simd::max(Simd::broadcast(0.0f), v));
  }

  // --- Expand ----------------------------------------------------------------------------------

  // Computes a panel of e at `count` pixels: (count, channels) x (channels, 16).
  static void expand(const float* x, int64_t pixel_stride, int64_t count, int64_t channels,
                     const float* weights, float* to) {
    constexpr int kMost = pixels(kVectors);
    const int64_t tiles = (count + kMost - 1) / kMost;
    for (int64_t tile = 0; tile < tiles; ++tile) {  // sizes differ by at most one pixel
      const int64_t first = tile * count / tiles, size = (tile + 1) * count / tiles - first;
      expand_some<kMost>(size, x + first * pixel_stride, pixel_stride, channels, weights,
                         to + first * kPanelChannels);
    }
  }

  template <int kCount>
  static void expand_some(int64_t count, const float* x, int64_t pixel_stride, int64_t channels,
                          const float* weights, float* to) {
    if (count == kCount) {
      expand_pixels<kCount>(x, pixel_stride, channels, weights, to);
    } else if constexpr (kCount > 1) {
      expand_some<kCount - 1>(count, x, pixel_stride, channels, weights, to);
    }
  }

  template <int kCount>
  [[gnu::noinline]] static void expand_pixels(const float* x, int64_t pixel_stride,
                                              int64_t channels, const float* weights, float* to) {
    Vector sum[kCount][kVectors];
#pragma GCC unroll 8
    for (int i = 0; i < kCount; ++i) {
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) sum[i][j] = Simd::load(weights + j * kLanes);
    }
#pragma GCC unroll 8
    for (int64_t c = 0; c < channels; ++c) {
      weights += kPanelChannels;
      Vector w[kVectors];
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) w[j] = Simd::load(weights + j * kLanes);
#pragma GCC unroll 8
      for (int i = 0; i < kCount; ++i) {
        const Vector v = Simd::broadcast(x[i * pixel_stride + c]);
#pragma GCC unroll 4
        for (int j = 0; j < kVectors; ++j) sum[i][j] = Simd::multiply_add(v, w[j], sum[i][j]);
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < kCount; ++i) {
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) {
        Simd::store(to + i * kPanelChannels + j * kLanes, relu6(sum[i][j]));
      }
    }
  }

  // --- Filter ----------------------------------------------------------------------------------

  // Computes `tiles` times kFilterColumns pixels of a row of one panel of d. `rows` are the rows of
  // e, each from the first pixel that the first output depends on.
  template <int kKernel, int kStride>
  [[gnu::noinline]] static void filter(const float* const* rows, const float* weights,
                                       int64_t tiles, float* to) {
    constexpr int kReach = (kFilterColumns - 1) * kStride + kKernel;
    for (int64_t tile = 0; tile < tiles; ++tile) {
#pragma GCC unroll 1
      for (int lane = 0; lane < kPanelChannels; lane += kLanes) {
        const float* w = weights + lane;
        Vector sum[kFilterColumns];
#pragma GCC unroll 8
        for (int o = 0; o < kFilterColumns; ++o) sum[o] = Simd::load(w);
#pragma GCC unroll 5
        for (int i = 0; i < kKernel; ++i) {
          const float* row = rows[i] + tile * kFilterColumns * kStride * kPanelChannels + lane;
          Vector taps[kKernel];
#pragma GCC unroll 5
          for (int j = 0; j < kKernel; ++j) taps[j] = Simd::load(w += kPanelChannels);
#pragma GCC unroll 16
          for (int j = 0; j < kReach; ++j) {  // loads each pixel once
            const Vector v = Simd::load(row + j * kPanelChannels);
#pragma GCC unroll 8
            for (int o = 0; o < kFilterColumns; ++o) {
              const int tap = j - o * kStride;
              if (tap >= 0 && tap < kKernel) sum[o] = Simd::multiply_add(v, taps[tap], sum[o]);
            }
          }
        }
#pragma GCC unroll 8
        for (int o = 0; o < kFilterColumns; ++o) {
          Simd::store(to + (tile * kFilterColumns + o) * kPanelChannels + lane, relu6(sum[o]));
        }
      }
    }
  }

  // --- Project ---------------------------------------------------------------------------------

  // The projection to some output channels: consecutive groups, then perhaps the narrow one.
  struct Projection {
    int64_t depth, filtered_stride;  // number of channels of d, stride of its panels
    const float* weights;            // (depth, 16) per group
    int64_t group_stride;
    const float* narrow;  // (depth, 8)
    const float* bias;    // null: sums start from the output
    int64_t residual_stride, output_stride;
  };

  // `residual` may be null.
  template <int kGroups, bool kNarrow>
  static void project(const Projection& p, int64_t count, const float* d, const float* residual,
                      float* out) {
    constexpr int kMost = pixels(kGroups * kVectors + (kNarrow ? kNarrowVectors : 0));
    const int64_t tiles = (count + kMost - 1) / kMost;
    for (int64_t tile = 0; tile < tiles; ++tile) {
      const int64_t first = tile * count / tiles, size = (tile + 1) * count / tiles - first;
      project_some<kMost, kGroups, kNarrow>(
          p, size, d + first * kPanelChannels,
          residual ? residual + first * p.residual_stride : nullptr, out + first * p.output_stride);
    }
  }

  template <int kCount, int kGroups, bool kNarrow>
  static void project_some(const Projection& p, int64_t count, const float* d,
                           const float* residual, float* out) {
    if (count == kCount) {
      project_pixels<kCount, kGroups, kNarrow>(p, d, residual, out);
    } else if constexpr (kCount > 1) {
      project_some<kCount - 1, kGroups, kNarrow>(p, count, d, residual, out);
    }
  }

  template <int kCount, int kGroups, bool kNarrow>
  [[gnu::noinline]] static void project_pixels(const Projection& p, const float* d,
                                               const float* residual, float* out) {
    constexpr int kWide = kGroups * kVectors, kLast = kNarrow ? kNarrowVectors : 0;
    constexpr int kNarrowStart = kGroups * kPanelChannels;
    Vector sum[kCount][kWide ? kWide : 1];
    NarrowVector last[kCount][kLast ? kLast : 1];
#pragma GCC unroll 8
    for (int i = 0; i < kCount; ++i) {
      const float* from = p.bias ? p.bias : out + i * p.output_stride;
      const float* added = residual ? residual + i * p.residual_stride : nullptr;
#pragma GCC unroll 8
      for (int j = 0; j < kWide; ++j) {
        const Vector start = Simd::load(from + j * kLanes);
        sum[i][j] = added ? Simd::add(start, Simd::load(added + j * kLanes)) : start;
      }
#pragma GCC unroll 2
      for (int j = 0; j < kLast; ++j) {
        const int channel = kNarrowStart + j * Narrow::kLanes;
        const NarrowVector start = Narrow::load(from + channel);
        last[i][j] = added ? Narrow::add(start, Narrow::load(added + channel)) : start;
      }
    }
    const float *weights = p.weights, *narrow = p.narrow;
    for (int64_t first = 0; first < p.depth; first += kPanelChannels, d += p.filtered_stride) {
      const int64_t left = p.depth - first;
      const int64_t channels = left < kPanelChannels ? left : kPanelChannels;
#pragma GCC unroll 4
      for (int64_t c = 0; c < channels; ++c) {
        Vector w[kWide ? kWide : 1];
        NarrowVector n[kLast ? kLast : 1];
#pragma GCC unroll 8
        for (int j = 0; j < kWide; ++j) {
          w[j] = Simd::load(weights + j / kVectors * p.group_stride + j % kVectors * kLanes);
        }
#pragma GCC unroll 2
        for (int j = 0; j < kLast; ++j) n[j] = Narrow::load(narrow + j * Narrow::kLanes);
        weights += kPanelChannels;
        if (kNarrow) narrow += kNarrowGroup;
#pragma GCC unroll 8
        for (int i = 0; i < kCount; ++i) {
          const float number = d[i * kPanelChannels + c];
#pragma GCC unroll 8
          for (int j = 0; j < kWide; ++j) {
            sum[i][j] = Simd::multiply_add(Simd::broadcast(number), w[j], sum[i][j]);
          }
#pragma GCC unroll 2
          for (int j = 0; j < kLast; ++j) {
            last[i][j] = Narrow::multiply_add(Narrow::broadcast(number), n[j], last[i][j]);
          }
        }
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < kCount; ++i) {
      float* to = out + i * p.output_stride;
#pragma GCC unroll 8
      for (int j = 0; j < kWide; ++j) Simd::store(to + j * kLanes, sum[i][j]);
#pragma GCC unroll 2
      for (int j = 0; j < kLast; ++j) {
        Narrow::store(to + kNarrowStart + j * Narrow::kLanes, last[i][j]);
      }
    }
  }
};

}  // namespace rmnet
