// rmnet::pack_conv3x3 for the CPU: filters as winograd.h wants them.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include "winograd.h"

namespace rmnet {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// G: what a row of a filter is as a polynomial at the points, divided by what the patch's
// polynomials have too much there.
struct Evaluation {
  double g[kPatch][3] = {};

  Evaluation() {
    const double points[kPatch - 1] = {0, kPointA, -kPointA, kPointB, -kPointB};
    for (int i = 0; i < kPatch - 1; ++i) {
      double divisor = 1;
      for (int j = 0; j < kPatch - 1; ++j) {
        if (j != i) divisor *= points[i] - points[j];
      }
      for (int power = 0; power < 3; ++power) {
        g[i][power] = (power > 0 ? g[i][power - 1] * points[i] : 1 / divisor);
      }
    }
    g[kPatch - 1][2] = 1;
  }
};

// G f G' of a filter of 3 x 3, in double precision; element `e` goes to packed[e * step].
void transform_filter(const float* filter, float* packed, int64_t step) {
  static const Evaluation evaluation;
  const auto& g = evaluation.g;
  double rows[kPatch][3];
  for (int i = 0; i < kPatch; ++i) {
    for (int j = 0; j < 3; ++j) {
      rows[i][j] = g[i][0] * filter[j] + g[i][1] * filter[3 + j] + g[i][2] * filter[6 + j];
    }
  }
  for (int i = 0; i < kPatch; ++i) {
    for (int j = 0; j < kPatch; ++j) {
      const double element = rows[i][0] * g[j][0] + rows[i][1] * g[j][1] + rows[i][2] * g[j][2];
      packed[(i * kPatch + j) * step] = static_cast<float>(element);
    }
  }
}

Tensor pack_conv3x3_cpu(const Tensor& weight) {
  STD_TORCH_CHECK(weight.dim() == 4 && weight.size(2) == 3 && weight.size(3) == 3,
                  "weight must be (out_channels, channels, 3, 3)");
  STD_TORCH_CHECK(weight.scalar_type() == ScalarType::Float, "weight must be float32");
  STD_TORCH_CHECK(weight.size(0) > 0 && weight.size(1) > 0, "weight is empty");
  const Tensor filters = torch::stable::contiguous(weight);
  const int64_t out_channels = filters.size(0), channels = filters.size(1);
  const int64_t panels = (out_channels + kPanel - 1) / kPanel;
  Tensor packed = torch::stable::empty({kElements, panels, channels, kPanel}, ScalarType::Float);
  const auto* from = static_cast<const float*>(filters.const_data_ptr());
  auto* to = static_cast<float*>(packed.mutable_data_ptr());
  const int64_t step = panels * channels * kPanel;
  const auto pack = [&](int64_t begin, int64_t end) {
    for (int64_t panel = begin; panel < end; ++panel) {
      for (int64_t c = 0; c < channels; ++c) {
        for (int64_t lane = 0; lane < kPanel; ++lane) {
          static constexpr float kNothing[9] = {};
          const int64_t k = panel * kPanel + lane;
          transform_filter(k < out_channels ? from + (k * channels + c) * 9 : kNothing,
                           to + (panel * channels + c) * kPanel + lane, step);
        }
      }
    }
  };
  torch::stable::parallel_for(0, panels, 1, pack);
  return packed;
}

}  // namespace
}  // namespace rmnet

STABLE_TORCH_LIBRARY_IMPL(rmnet, CPU, m) {
  m.impl("pack_conv3x3", TORCH_BOX(&rmnet::pack_conv3x3_cpu));
}
