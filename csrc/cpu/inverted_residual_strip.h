// The function of inverted_residual.h for any instruction set. Each of inverted_residual_*.cpp
// includes this once, below its `#pragma GCC target`. The linker must not share any of this code
// between those files, so everything is a template of the instruction set, and the standard library
// is not used.
#pragma once

#include "inverted_residual.h"
#include "inverted_residual_steps.h"

namespace rmnet {

template <class Simd, int kKernel, int kStride>
struct InvertedResidualStrip {
  using Steps = InvertedResidualSteps<Simd>;
  using Vector = typename Simd::Vector;

  // The most groups of output channels of which a tile of registers holds two or more pixels.
  static constexpr int kMostGroups = Steps::kVectors == 1 ? 2 : 1;

  static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
  static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

  const InvertedResidual& block;
  const OutputPart& part;
  const StripScratch& scratch;
  // The strip needs columns [left, right) of x. Column 0 of the ring is column `origin` of x, which
  // may lie outside the image.
  int64_t origin, left, right;

  InvertedResidualStrip(const InvertedResidual& block, const OutputPart& part,
                        const StripScratch& scratch)
      : block(block), part(part), scratch(scratch) {
    origin = part.first_column * kStride - kKernel / 2;
    left = larger(origin, 0);
    right = smaller((part.last_column - 1) * kStride - kKernel / 2 + kKernel, block.width);
  }

  int64_t columns() const { return part.last_column - part.first_column; }

  void run() const {
    // Columns outside the image stay zero; all others are written before they are read.
    set_zero(scratch.ring, scratch.panels * scratch.panel_stride);
    set_zero(scratch.zeros, scratch.row_stride);
    for (int64_t first = 0; first < block.panels(); first += scratch.panels) {
      compute_panels(first, smaller(first + scratch.panels, block.panels()));
    }
  }

  static void set_zero(float* to, int64_t count) {
    for (int64_t i = 0; i < count; ++i) to[i] = 0.0f;
  }

  // Adds the contribution of panels [first, last) of e to the output.
  void compute_panels(int64_t first, int64_t last) const {
    int64_t ready = 0;  // the ring holds the rows of e before this one that are still needed
    for (int64_t row = part.first_row; row < part.last_row; ++row) {
      const int64_t top = row * kStride - kKernel / 2;
      const int64_t bottom = smaller(top + kKernel, block.height);
      ready = larger(ready, larger(top, 0));
      for (int64_t panel = first; panel < last; ++panel) {
        float* ring = scratch.ring + (panel - first) * scratch.panel_stride;
        for (int64_t y = ready; y < bottom; ++y) {
          fill(y, panel,
               ring + y % kKernel * scratch.row_stride + (left - origin) * kPanelChannels);
        }
        const float* rows[kKernel];
        for (int64_t i = 0; i < kKernel; ++i) {
          const int64_t y = top + i;
          const bool inside = y >= 0 && y < block.height;
          rows[i] = inside ? ring + y % kKernel * scratch.row_stride : scratch.zeros;
        }
        Steps::template filter<kKernel, kStride>(
            rows, block.packed + block.layout.filters + panel * block.layout.filter_stride,
            (columns() + kFilterColumns - 1) / kFilterColumns,
            scratch.filtered + (panel - first) * scratch.filtered_stride);
      }
      ready = larger(ready, bottom);
      project(row, first, last);
    }
  }

  // Computes a row of a panel of e, inside the image.
  void fill(int64_t y, int64_t panel, float* to) const {
    const float* from = block.input.at(part.image, y, left);
    if (block.expands) {
      Steps::expand(from, block.input.pixel_stride, right - left, block.channels,
                    block.packed + panel * block.layout.expand_stride, to);
      return;
    }
    const int64_t channels = smaller(kPanelChannels, block.channels - panel * kPanelChannels);
    from += panel * kPanelChannels;
    for (int64_t i = 0; i < right - left; ++i) {
      copy(from + i * block.input.pixel_stride, channels, to + i * kPanelChannels);
    }
  }

  static void copy(const float* from, int64_t count, float* to) {
    int64_t c = 0;
    for (; c + Steps::kLanes <= count; c += Steps::kLanes)
      Simd::store(to + c, Simd::load(from + c));
    for (; c < count; ++c) to[c] = from[c];
  }

  // --- Project ---------------------------------------------------------------------------------

  using Projection = typename Steps::Projection;

  // Adds panels [first, last) of d to a row of the output.
  void project(int64_t row, int64_t first, int64_t last) const {
    const float* weights = block.packed + block.layout.project;
    const int64_t start = first * kPanelChannels;
    const int64_t depth = smaller(last * kPanelChannels, block.expanded) - start;
    int64_t channel = 0;
    while (channel < block.out_channels) {
      const int64_t left = (block.out_channels - channel + kNarrowGroup - 1) / kNarrowGroup;
      const int64_t groups_left = left * kNarrowGroup / kPanelChannels;
      const int64_t groups = smaller(groups_left, kMostGroups);
      const bool narrow = left % 2 && groups == groups_left;
      const float* group = weights + channel / kPanelChannels * block.layout.group_stride;
      const Projection projection{depth,
                                  scratch.filtered_stride,
                                  group + start * kPanelChannels,
                                  block.layout.group_stride,
                                  group + groups * block.layout.group_stride + start * kNarrowGroup,
                                  first == 0 ? block.packed + block.layout.bias + channel : nullptr,
                                  block.input.pixel_stride,
                                  block.output.pixel_stride};
      choose_groups<kMostGroups>(groups, narrow, projection, row, channel);
      channel += groups * kPanelChannels + (narrow ? kNarrowGroup : 0);
    }
  }

  template <int kGroups>
  void choose_groups(int64_t groups, bool narrow, const Projection& projection, int64_t row,
                     int64_t channel) const {
    if (groups == kGroups && narrow) {
      project_groups<kGroups, true>(projection, row, channel);
    } else if (groups == kGroups) {
      if constexpr (kGroups > 0) project_groups<kGroups, false>(projection, row, channel);
    } else if constexpr (kGroups > 0) {
      choose_groups<kGroups - 1>(groups, narrow, projection, row, channel);
    }
  }

  template <int kGroups, bool kNarrow>
  void project_groups(const Projection& projection, int64_t row, int64_t channel) const {
    constexpr int kWidth = kGroups * kPanelChannels + (kNarrow ? kNarrowGroup : 0);
    float* out = block.output.at(part.image, row, part.first_column) + channel;
    const float* residual = nullptr;
    if (block.adds_input && projection.bias) {
      residual = block.input.at(part.image, row, part.first_column) + channel;
    }
    const int64_t left = block.out_channels - channel;
    if (left >= kWidth) {
      Steps::template project<kGroups, kNarrow>(projection, columns(), scratch.filtered, residual,
                                                out);
      return;
    }
    // The last vector is longer than the output: compute it elsewhere, some pixels at a time.
    constexpr int kPixels = 8;
    float whole[kPixels * kWidth] = {};
    Projection elsewhere = projection;
    elsewhere.bias = nullptr;
    elsewhere.output_stride = kWidth;
    for (int64_t first = 0; first < columns(); first += kPixels) {
      const int64_t count = smaller(kPixels, columns() - first);
      for (int64_t i = 0; i < count; ++i) {
        const float* from = projection.bias;
        if (!from) from = out + (first + i) * projection.output_stride;
        for (int64_t c = 0; c < left; ++c) whole[i * kWidth + c] = from[c];
        if (!residual) continue;
        const float* added = residual + (first + i) * projection.residual_stride;
        for (int64_t c = 0; c < left; ++c) whole[i * kWidth + c] += added[c];
      }
      Steps::template project<kGroups, kNarrow>(
          elsewhere, count, scratch.filtered + first * kPanelChannels, nullptr, whole);
      for (int64_t i = 0; i < count; ++i) {
        float* to = out + (first + i) * projection.output_stride;
        for (int64_t c = 0; c < left; ++c) to[c] = whole[i * kWidth + c];
      }
    }
  }
};

template <class Simd>
void compute_inverted_residual(const InvertedResidual& block, const OutputPart& part,
                               const StripScratch& scratch) {
  if (block.kernel == 3 && block.stride == 1) {
    InvertedResidualStrip<Simd, 3, 1>(block, part, scratch).run();
  } else if (block.kernel == 3) {
    InvertedResidualStrip<Simd, 3, 2>(block, part, scratch).run();
  } else if (block.stride == 1) {
    InvertedResidualStrip<Simd, 5, 1>(block, part, scratch).run();
  } else {
    InvertedResidualStrip<Simd, 5, 2>(block, part, scratch).run();
  }
}

template <class Simd>
constexpr InvertedResidualKernels inverted_residual_kernels() {
  return {compute_inverted_residual<Simd>};
}

}  // namespace rmnet
