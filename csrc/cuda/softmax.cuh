// The softmax of a query row over keys that arrive tile by tile, in base 2.
#pragma once

#include <cmath>

namespace rmnet::cuda {

constexpr float kLog2E = 1.44269504f;

// Scores of a row are relative to a reference, which is raised only when a score exceeds it by more
// than this. Weights may then be up to 2^8 instead of 1, which costs no precision, and the sums of
// the row rarely need rescaling after the first tile. Source: FlashAttention-4.
constexpr float kSlack = 8;

struct RowSoftmax {
  float reference = -INFINITY;  // no key yet
  float total = 0;              // sum of 2^(score - reference)

  // Makes room for scores up to `top`; returns the factor on earlier weights.
  __device__ __forceinline__ float raise(float top) {
    const float before = reference;
    if (top > before + kSlack) reference = top;
    const float decay = exp2f(before - reference);
    total *= decay;
    return decay;
  }
};

// The factor on a row's final sum of weighted values. Each of `sink_cells` adds a weight for a
// score of 0, and no value.
__device__ inline float normaliser(const RowSoftmax& row, int sink_cells) {
  if (sink_cells == 0) return 1 / row.total;
  const float top = fmaxf(row.reference, 0);
  const float decay = exp2f(row.reference - top);
  return decay / (row.total * decay + static_cast<float>(sink_cells) * exp2f(-top));
}

}  // namespace rmnet::cuda
