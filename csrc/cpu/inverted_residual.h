// The arithmetic of inverted residual blocks, behind one function an instruction set.
//
//   e = relu6(expand x)      1 x 1; or nothing: e = x
//   d = relu6(filter e)      k x k, each channel by itself, stride s, zeros around e
//   y = project d (+ x)      1 x 1
//
// e is some six times as wide as x, and never exists as a whole. The output is made in strips of
// columns, each from top to bottom. The k rows of e that the next row of d needs are in a ring:
// each is computed once a strip, when the first row of d reaches it.
//
// e and d lie in panels of 16 channels, (panels, rows, columns, 16): a pixel of a panel is a cache
// line. Lanes of a vector are channels in each step, so that nothing is ever transposed or added
// up across lanes. Every sum begins with its bias (and the number of x that is added) and takes
// its products in the order of the channels. So results do not depend on how the work is cut.
#pragma once

#include <cstdint>

#include "instruction_set.h"
#include "pixels.h"

namespace rmnet {

constexpr int kPanelChannels = 16;  // of e and d; also output channels that are projected together
constexpr int kNarrowGroup = 8;     // output channels of the last group, if no more are left
constexpr int kFilterColumns = 6;   // outputs of the depthwise filter computed together

// Where packed weights lie, in floats from their start. Numbers that fill up a panel or group are
// zeros.
struct PackedLayout {
  int64_t expand_stride;           // (1 + channels, 16): a panel's biases, then weights
  int64_t filters, filter_stride;  // (1 + k * k, 16) a panel: biases, then weights
  int64_t bias;                    // (out_channels,), of the projection
  int64_t project, group_stride;   // (expanded, 16) a group, or (expanded, 8) the last
  int64_t size;

  PackedLayout(int64_t channels, int64_t expanded, int64_t out_channels, int64_t kernel,
               bool expands) {
    const int64_t panels = (expanded + kPanelChannels - 1) / kPanelChannels;
    const int64_t padded = (out_channels + kNarrowGroup - 1) / kNarrowGroup * kNarrowGroup;
    expand_stride = expands ? (1 + channels) * kPanelChannels : 0;
    filters = panels * expand_stride;
    filter_stride = (1 + kernel * kernel) * kPanelChannels;
    bias = filters + panels * filter_stride;
    project = bias + (padded + kPanelChannels - 1) / kPanelChannels * kPanelChannels;
    group_stride = expanded * kPanelChannels;
    size = project + expanded * padded;
  }
};

struct InvertedResidual {
  int64_t images, height, width, channels, expanded, out_channels;
  int64_t kernel, stride;  // 3 or 5, 1 or 2
  bool expands, adds_input;
  Pixels<const float> input;
  Pixels<float> output;
  PackedLayout layout;
  const float* packed;

  int64_t panels() const { return (expanded + kPanelChannels - 1) / kPanelChannels; }
  int64_t out_height() const { return (height + stride - 1) / stride; }
  int64_t out_width() const { return (width + stride - 1) / stride; }
};

// Output that one thread makes at a time.
struct OutputPart {
  int64_t image, first_row, last_row, first_column, last_column;
};

// Where a thread keeps what is in between, for so many panels and columns of output at a time.
struct StripScratch {
  int64_t panels;  // with fewer than all, sums go on from the output
  // Of a row and a panel. A line more than they need: rows of 2^n floats would fall on the same
  // cache sets.
  int64_t row_stride, panel_stride, filtered_stride;
  float* ring;      // (panels, k, columns, 16): rows of e, row y at y mod k
  float* zeros;     // (columns, 16): the rows above and below the image
  float* filtered;  // (panels, columns, 16): a row of d

  StripScratch(const InvertedResidual& block, int64_t columns, int64_t panels) : panels(panels) {
    const int64_t whole = (columns + kFilterColumns - 1) / kFilterColumns * kFilterColumns;
    row_stride = ((whole - 1) * block.stride + block.kernel + 1) * kPanelChannels;
    panel_stride = block.kernel * row_stride + kPanelChannels;
    filtered_stride = (whole + 1) * kPanelChannels;
  }
};

// One instruction set's function.
struct InvertedResidualKernels {
  void (*compute)(const InvertedResidual& block, const OutputPart& part,
                  const StripScratch& scratch);
};

extern const InvertedResidualKernels portable_inverted_residual;
#ifdef RMNET_X86
extern const InvertedResidualKernels avx2_inverted_residual, avx512_inverted_residual;
#endif

}  // namespace rmnet
