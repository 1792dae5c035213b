// The arithmetic of 3 x 3 convolutions by Winograd's F(4 x 4, 3 x 3): a table of functions for each
// instruction set.
//
// The output is computed in tiles of 4 x 4, each from a patch of 6 x 6 of the input that extends
// one pixel further on every side. With a patch d, a filter g and a tile y of one channel each,
//
//   y = A' ((G g G') * (B' d B)) A        * element by element, ' for transposed
//
// Summed over input channels, the 36 products of elements are 36 products of matrices, (tiles,
// channels) x (channels, output channels). They take 2.25 multiplications per output, input channel
// and output channel, where the definition takes 9. Source: Lavin and Gray, "Fast algorithms for
// convolutional neural networks", CVPR 2016.
//
// G and B evaluate polynomials at 0, a, -a, b, -b and infinity, and A interpolates. Any a and b are
// correct; these keep rounding errors small (docs/lab/convolution.md), and the factors in the
// transforms of input and output are exact in float32.
//
// Every call transforms the filters anew: stored, they would take four times the memory, and the
// transform takes a few per cent of the convolution's time.
#pragma once

#include <cstdint>

#include "instruction_set.h"
#include "pixels.h"

namespace rmnet {

constexpr double kPointA = 0.625, kPointB = 1.5;

constexpr int kTile = 4, kPatch = 6;
constexpr int kElements = kPatch * kPatch;  // elements of a transformed patch or filter

// Number of output channels whose transformed filters are stored together; the last panel is padded
// with zeros.
constexpr int kPanel = 32;

// Filters (out_channels, channels, 3, 3) with any strides, in floats.
struct Filters {
  const float* start;
  int64_t out_channel_stride, channel_stride, row_stride, column_stride;
};

// The arguments of a convolution of some input channels.
struct Convolution {
  int64_t images, height, width, channels, out_channels;
  Pixels<const float> input;
  Filters filters;
  const float* scale;            // (out_channels,): factors on the filters; null: 1
  float* transformed;            // (panels, 36, filter_stride): filters (channels, kPanel)
  const float* bias;             // (out_channels,) or null
  Pixels<const float> residual;  // null: none
  Pixels<float> output;
  bool relu_input, relu_output;

  int64_t panels() const { return (out_channels + kPanel - 1) / kPanel; }
  // Padded by one cache line: rows of 2^n floats would map to the same cache sets.
  int64_t filter_stride() const { return channels * kPanel + 16; }
  int64_t tile_rows() const { return (height + kTile - 1) / kTile; }
  int64_t tile_columns() const { return (width + kTile - 1) / kTile; }
  int64_t tiles() const { return images * tile_rows() * tile_columns(); }
};

// Functions of one instruction set.
struct WinogradKernels {
  void (*transform_filters)(const Convolution& convolution, int64_t panel);
  // Returns the number of floats of scratch memory, aligned to a cache line, for `tiles` at a time.
  int64_t (*scratch_size)(const Convolution& convolution, int64_t tiles);
  // Computes tiles [first, last) of all images, numbered row by row.
  void (*convolve)(const Convolution& convolution, int64_t first, int64_t last, float* scratch);
};

extern const WinogradKernels portable_winograd;
#ifdef RMNET_X86
extern const WinogradKernels avx2_winograd, avx512_winograd;
#endif

}  // namespace rmnet
