// rmnet::conv3x3 for the CPU: groups of input channels, blocks of tiles, blocks spread over
// threads.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "arena.h"
#include "images.h"
#include "winograd.h"

namespace rmnet {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Enough to use the filters often, since each block reads them once; few enough for the transformed
// patches and sums to stay in the caches.
constexpr int64_t kTilesAtATime = 48;

// Number of input channels at a time: their transformed filters need little memory, and a sum of
// sums has smaller rounding errors than one long sum.
constexpr int64_t kChannelsAtATime = 256;

const WinogradKernels& winograd_of(InstructionSet instruction_set) {
#ifdef RMNET_X86
  if (instruction_set == InstructionSet::kAvx512) return avx512_winograd;
  if (instruction_set == InstructionSet::kAvx2) return avx2_winograd;
#endif
  return portable_winograd;
}

// Returns the number of channels at a time: groups of equal size, except for the last.
int64_t group_size(int64_t channels) {
  const int64_t groups = (channels + kChannelsAtATime - 1) / kChannelsAtATime;
  return std::min(channels, round_up((channels + groups - 1) / groups, 16));
}

// The convolution of some input channels, added to the result of the channels before.
Convolution group(const Convolution& whole, int64_t first, int64_t channels) {
  Convolution part = whole;
  part.channels = channels;
  part.input.start += first;
  part.filters.start += first * whole.filters.channel_stride;
  part.relu_output = whole.relu_output && first + channels == whole.channels;
  if (first > 0) {
    const Pixels<float>& sum = whole.output;
    part.bias = nullptr;
    part.residual = {sum.start, sum.image_stride, sum.row_stride, sum.pixel_stride};
  }
  return part;
}

void convolve(const Convolution& whole, const WinogradKernels& kernels,
              const std::optional<Tensor>& scratch) {
  const int64_t threads = torch::stable::get_num_threads();
  const int64_t tiles = whole.tiles();
  // The same number of blocks for each thread, if there are enough tiles.
  const int64_t full_blocks = std::max<int64_t>(1, (tiles + kTilesAtATime / 2) / kTilesAtATime);
  const int64_t blocks = std::min(round_up(full_blocks, threads), tiles);
  const int64_t workers = std::min(threads, blocks);
  const int64_t depth = group_size(whole.channels);
  Convolution largest = group(whole, 0, depth);
  std::vector<float*> buffers(workers);
  const auto lay_out = [&](Arena arena) {
    largest.transformed = arena.take(largest.panels() * kElements * largest.filter_stride());
    for (float*& buffer : buffers) {
      buffer = arena.take(kernels.scratch_size(largest, (tiles + blocks - 1) / blocks));
    }
    return arena.used();
  };
  const int64_t size = lay_out(Arena(nullptr)) + 16;
  Tensor memory = scratch && scratch->numel() >= size
                      ? *scratch
                      : torch::stable::empty({size}, ScalarType::Float);
  auto address = reinterpret_cast<uintptr_t>(memory.mutable_data_ptr());
  lay_out(Arena(reinterpret_cast<float*>(round_up(address, 64))));
  for (int64_t first = 0; first < whole.channels; first += depth) {
    Convolution part = group(whole, first, std::min(depth, whole.channels - first));
    part.transformed = largest.transformed;
    for_each(part.panels(), [&](int64_t panel) { kernels.transform_filters(part, panel); });
    for_each(workers, [&](int64_t worker) {
      for (int64_t block = worker * blocks / workers; block < (worker + 1) * blocks / workers;
           ++block) {
        kernels.convolve(part, block * tiles / blocks, (block + 1) * tiles / blocks,
                         buffers[worker]);
      }
    });
  }
}

// Returns a contiguous float32 vector (out_channels,), or nothing.
std::optional<Tensor> check_vector(const char* name, const std::optional<Tensor>& vector,
                                   int64_t out_channels) {
  if (!vector) return std::nullopt;
  STD_TORCH_CHECK(vector->dim() == 1 && vector->size(0) == out_channels &&
                      vector->scalar_type() == ScalarType::Float,
                  name, " must be float32 of shape (out_channels,)");
  return torch::stable::contiguous(*vector);
}

const float* floats_of(const std::optional<Tensor>& vector) {
  return vector ? static_cast<const float*>(vector->const_data_ptr()) : nullptr;
}

void conv3x3_cpu(const Tensor& out, const Tensor& x, const Tensor& weight,
                 const std::optional<Tensor>& scale, const std::optional<Tensor>& bias,
                 const std::optional<Tensor>& residual, bool relu_input, bool relu_output,
                 const std::string& instruction_set, const std::optional<Tensor>& scratch) {
  check_images("x", x);
  const int64_t images = x.size(0), channels = x.size(1), height = x.size(2), width = x.size(3);
  STD_TORCH_CHECK(weight.dim() == 4 && weight.size(2) == 3 && weight.size(3) == 3 &&
                      weight.scalar_type() == ScalarType::Float,
                  "weight must be float32 of shape (out_channels, channels, 3, 3)");
  const int64_t out_channels = weight.size(0);
  STD_TORCH_CHECK(out_channels > 0 && channels > 0, "weight is empty");
  STD_TORCH_CHECK(weight.size(1) == channels, "x has ", channels, " channels; weight expects ",
                  weight.size(1));
  const auto check_result = [&](const char* name, const Tensor& result) {
    check_images(name, result);
    STD_TORCH_CHECK(result.size(0) == images && result.size(1) == out_channels &&
                        result.size(2) == height && result.size(3) == width,
                    name, " does not have the shape of the result");
  };
  check_result("out", out);
  STD_TORCH_CHECK(has_channels_last(out), "the channels of out must be adjacent in memory");
  const std::optional<Tensor> factors = check_vector("scale", scale, out_channels);
  const std::optional<Tensor> shift = check_vector("bias", bias, out_channels);
  const Tensor input = channels_last(x);
  Convolution convolution{images,
                          height,
                          width,
                          channels,
                          out_channels,
                          pixels_of(input),
                          {static_cast<const float*>(weight.const_data_ptr()), weight.stride(0),
                           weight.stride(1), weight.stride(2), weight.stride(3)},
                          floats_of(factors),
                          nullptr,
                          floats_of(shift),
                          {},
                          pixels_of(out, static_cast<float*>(out.mutable_data_ptr())),
                          relu_input,
                          relu_output};
  std::optional<Tensor> added;
  if (residual) {
    check_result("residual", *residual);
    added = channels_last(*residual);
    convolution.residual = pixels_of(*added);
  }
  STD_TORCH_CHECK(
      !scratch || (scratch->scalar_type() == ScalarType::Float && scratch->is_contiguous()),
      "scratch must be contiguous float32");
  const WinogradKernels& kernels = winograd_of(choose_instruction_set(instruction_set));
  if (convolution.tiles() > 0) convolve(convolution, kernels, scratch);
}

}  // namespace
}  // namespace rmnet

STABLE_TORCH_LIBRARY_IMPL(rmnet, CPU, m) { m.impl("conv3x3", TORCH_BOX(&rmnet::conv3x3_cpu)); }
