// The arithmetic of 3 x 3 convolutions by Winograd's F(4 x 4, 3 x 3), behind one function an
// instruction set.
//
// The output is made in tiles of 4 x 4, each from a patch of 6 x 6 of the input that reaches one
// pixel further on every side. With d a patch, g a filter and y a tile of one channel each,
//
//   y = A' ((G g G') * (B' d B)) A        * element by element, ' for transposed
//
// and, summed over input channels, the 36 products of elements are 36 products of matrices,
// (tiles, channels) x (channels, output channels): 2.25 multiplications for each output and input
// channel, where the definition has 9. Source: Lavin and Gray, "Fast algorithms for convolutional
// neural networks", CVPR 2016.
//
// G, B and A evaluate polynomials at 0, a, -a, b, -b and infinity, and interpolate. Any a and b
// are right; these keep the rounding errors small (docs/convolution.md), and all that the
// transforms of input and output multiply by is exact in float32.
//
// Filters are transformed in each call: transformed they take four times the memory, and the
// time is a few hundredths of the convolution's.
#pragma once

#include <cstdint>

#include "instruction_set.h"
#include "pixels.h"

namespace rmnet {

constexpr double kPointA = 0.625, kPointB = 1.5;

constexpr int kTile = 4, kPatch = 6;
constexpr int kElements = kPatch * kPatch;  // of a transformed patch or filter

// Output channels whose transformed filters lie together, the last panel's with zeros to its end.
constexpr int kPanel = 32;

// (out_channels, channels, 3, 3), lying in any way; strides are in floats.
struct Filters {
  const float* start;
  int64_t out_channel_stride, channel_stride, row_stride, column_stride;
};

// What convolutions of some input channels take.
struct Convolution {
  int64_t images, height, width, channels, out_channels;
  Pixels<const float> input;
  Filters filters;
  const float* scale;            // (out_channels,), of the filters; null: 1
  float* transformed;            // (panels, 36, filter_stride): filters (channels, kPanel)
  const float* bias;             // (out_channels,) or null
  Pixels<const float> residual;  // null: none
  Pixels<float> output;
  bool relu_input, relu_output;

  int64_t panels() const { return (out_channels + kPanel - 1) / kPanel; }
  // A line more than they need: rows of 2^n floats would fall on the same cache sets.
  int64_t filter_stride() const { return channels * kPanel + 16; }
  int64_t tile_rows() const { return (height + kTile - 1) / kTile; }
  int64_t tile_columns() const { return (width + kTile - 1) / kTile; }
  int64_t tiles() const { return images * tile_rows() * tile_columns(); }
};

// One instruction set's functions.
struct WinogradKernels {
  void (*transform_filters)(const Convolution& convolution, int64_t panel);
  // Floats of scratch, aligned to a cache line, that `tiles` at a time need.
  int64_t (*scratch_size)(const Convolution& convolution, int64_t tiles);
  // Computes the tiles [first, last) of all images, counted row by row.
  void (*convolve)(const Convolution& convolution, int64_t first, int64_t last, float* scratch);
};

extern const WinogradKernels portable_winograd;
#ifdef RMNET_X86
extern const WinogradKernels avx2_winograd, avx512_winograd;
#endif

}  // namespace rmnet
