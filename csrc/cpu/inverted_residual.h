// The arithmetic of inverted residual blocks: one function for each instruction set.
//
//   e = relu6(expand x)      1 x 1; or nothing: e = x
//   d = relu6(filter e)      k x k, depthwise, stride s, zeros around e
//   y = project d (+ x)      1 x 1
//
// e has about six times as many channels as x and never exists as a whole. The output is computed
// in strips of columns, each from top to bottom. A ring holds the k rows of e that the next row of
// d needs; each row is computed once per strip, when the first row of d reaches it.
//
// e and d are stored in panels of 16 channels, (panels, rows, columns, 16): a pixel of a panel is a
// cache line. Lanes of a vector are channels in each step, so that nothing is transposed or summed
// across lanes. Every sum begins with its bias (plus x, if that is added) and takes its products in
// the order of the channels, so that results do not depend on how the work is divided.
#pragma once

#include <cstdint>

#include "instruction_set.h"
#include "pixels.h"

namespace rmnet {

constexpr int kPanelChannels = 16;  // channels of a panel of e or d, or of a group of the output
constexpr int kNarrowGroup = 8;     // channels of the output's last group, if at most 8 are left
constexpr int kFilterColumns = 6;   // outputs of the depthwise filter computed together

// Positions of the packed weights, in floats from their start. Panels and groups are padded with
// zeros.
struct PackedLayout {
  int64_t expand_stride;           // (1 + channels, 16): a panel's biases, then weights
  int64_t filters, filter_stride;  // (1 + k * k, 16) per panel: biases, then weights
  int64_t bias;                    // (out_channels,): biases of the projection
  int64_t project, group_stride;   // (expanded, 16) per group, perhaps (expanded, 8) for the last
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

// The part of the output that one thread computes at a time.
struct OutputPart {
  int64_t image, first_row, last_row, first_column, last_column;
};

// A thread's memory for intermediate results.
struct StripScratch {
  int64_t panels;  // at a time; if not all, the output holds the sums of the panels before
  // Strides of rows and panels, padded by one cache line: rows of 2^n floats would map to the same
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

// The function of one instruction set.
struct InvertedResidualKernels {
  void (*compute)(const InvertedResidual& block, const OutputPart& part,
                  const StripScratch& scratch);
};

extern const InvertedResidualKernels portable_inverted_residual;
#ifdef RMNET_X86
extern const InvertedResidualKernels avx2_inverted_residual, avx512_inverted_residual;
#endif

}  // namespace rmnet
