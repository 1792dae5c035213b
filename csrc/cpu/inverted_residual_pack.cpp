// rmnet::pack_inverted_residual: puts weights into the order of their use, which is the same for
// all instruction sets.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <optional>

#include "inverted_residual.h"

namespace rmnet {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Returns a contiguous float32 weight (rows, columns, kernel, kernel).
Tensor check_weight(const char* name, const Tensor& weight, int64_t kernel) {
  STD_TORCH_CHECK(weight.dim() == 4 && weight.scalar_type() == ScalarType::Float &&
                      weight.size(2) == kernel && weight.size(3) == kernel,
                  name, " must be float32, of four dimensions, with filters of ", kernel, " x ",
                  kernel);
  STD_TORCH_CHECK(weight.size(0) > 0 && weight.size(1) > 0, name, " is empty");
  return torch::stable::contiguous(weight);
}

Tensor check_bias(const char* name, const Tensor& bias, int64_t channels) {
  STD_TORCH_CHECK(
      bias.dim() == 1 && bias.scalar_type() == ScalarType::Float && bias.size(0) == channels, name,
      " must be float32 of shape (", channels, ",)");
  return torch::stable::contiguous(bias);
}

const float* floats_of(const Tensor& tensor) {
  return static_cast<const float*>(tensor.const_data_ptr());
}

// Packs biases and weights (channels, taps) as (1 + taps, 16) per panel.
void pack_panels(const Tensor& weight, const Tensor& bias, float* to, int64_t panel_stride) {
  const int64_t channels = weight.size(0), taps = weight.numel() / channels;
  const float *weights = floats_of(weight), *biases = floats_of(bias);
  for (int64_t c = 0; c < channels; ++c) {
    float* lane = to + c / kPanelChannels * panel_stride + c % kPanelChannels;
    lane[0] = biases[c];
    for (int64_t i = 0; i < taps; ++i) lane[(1 + i) * kPanelChannels] = weights[c * taps + i];
  }
}

// Packs weights (out_channels, expanded) as (expanded, 16) per group, or (expanded, 8) for the
// last.
void pack_groups(const Tensor& weight, float* to) {
  const int64_t out_channels = weight.size(0), expanded = weight.size(1);
  const float* weights = floats_of(weight);
  for (int64_t first = 0; first < out_channels; first += kPanelChannels) {
    const int64_t count = std::min<int64_t>(out_channels - first, kPanelChannels);
    const int64_t lanes = count > kNarrowGroup ? kPanelChannels : kNarrowGroup;
    for (int64_t e = 0; e < expanded; ++e) {
      for (int64_t i = 0; i < count; ++i) {
        to[(first * expanded) + e * lanes + i] = weights[(first + i) * expanded + e];
      }
    }
  }
}

Tensor pack_inverted_residual(const std::optional<Tensor>& expand,
                              const std::optional<Tensor>& expand_bias, const Tensor& depthwise,
                              const Tensor& depthwise_bias, const Tensor& project,
                              const Tensor& project_bias) {
  STD_TORCH_CHECK(depthwise.dim() == 4 && (depthwise.size(2) == 3 || depthwise.size(2) == 5),
                  "depthwise must have filters of 3 x 3 or 5 x 5");
  const int64_t kernel = depthwise.size(2);
  const Tensor filters = check_weight("depthwise", depthwise, kernel);
  const int64_t expanded = filters.size(0);
  STD_TORCH_CHECK(filters.size(1) == 1, "depthwise must be (expanded, 1, k, k)");
  const Tensor filter_bias = check_bias("depthwise_bias", depthwise_bias, expanded);
  const Tensor projection = check_weight("project", project, 1);
  STD_TORCH_CHECK(projection.size(1) == expanded, "project expects ", projection.size(1),
                  " channels; depthwise has ", expanded);
  const int64_t out_channels = projection.size(0);
  const Tensor bias = check_bias("project_bias", project_bias, out_channels);
  STD_TORCH_CHECK(expand.has_value() == expand_bias.has_value(),
                  "expand and expand_bias must be given together");
  std::optional<Tensor> expansion, expansion_bias;
  if (expand) {
    expansion = check_weight("expand", *expand, 1);
    STD_TORCH_CHECK(expansion->size(0) == expanded, "expand gives ", expansion->size(0),
                    " channels; depthwise has ", expanded);
    expansion_bias = check_bias("expand_bias", *expand_bias, expanded);
  }
  const int64_t channels = expansion ? expansion->size(1) : expanded;
  const PackedLayout layout(channels, expanded, out_channels, kernel, expansion.has_value());
  Tensor packed = torch::stable::empty({layout.size}, ScalarType::Float);
  float* start = static_cast<float*>(packed.mutable_data_ptr());
  std::fill_n(start, layout.size, 0.0f);
  if (expansion) pack_panels(*expansion, *expansion_bias, start, layout.expand_stride);
  pack_panels(filters, filter_bias, start + layout.filters, layout.filter_stride);
  std::copy_n(floats_of(bias), out_channels, start + layout.bias);
  pack_groups(projection, start + layout.project);
  return packed;
}

}  // namespace
}  // namespace rmnet

STABLE_TORCH_LIBRARY_IMPL(rmnet, CPU, m) {
  m.impl("pack_inverted_residual", TORCH_BOX(&rmnet::pack_inverted_residual));
}
