// rmnet::conv3x3 for the CPU: tiles in blocks, and blocks over threads.
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
#include "winograd.h"

namespace rmnet {
namespace {

using torch::headeronly::MemoryFormat;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Enough that the filters, which each block reads once, are used often; few enough that the
// transformed patches and sums do not leave the caches.
constexpr int64_t kTilesAtATime = 48;

const WinogradKernels& winograd_of(InstructionSet instruction_set) {
#ifdef RMNET_X86
  if (instruction_set == InstructionSet::kAvx512) return avx512_winograd;
  if (instruction_set == InstructionSet::kAvx2) return avx2_winograd;
#endif
  return portable_winograd;
}

void check_images(const char* name, const Tensor& images) {
  STD_TORCH_CHECK(images.dim() == 4 && images.scalar_type() == ScalarType::Float, name,
                  " must be (B, C, H, W) of float32");
}

// The same numbers, a pixel's channels one after another; a copy only if they are not so yet.
Tensor channels_last(const Tensor& images) {
  if (images.stride(1) == 1 || images.size(1) == 1) return images;
  return torch::stable::contiguous(images, MemoryFormat::ChannelsLast);
}

template <class Float>
Pixels<Float> pixels_of(const Tensor& images, Float* start) {
  return {start, images.stride(0), images.stride(2), images.stride(3)};
}

Pixels<const float> pixels_of(const Tensor& images) {
  return pixels_of(images, static_cast<const float*>(images.const_data_ptr()));
}

void convolve(const Convolution& convolution, const WinogradKernels& kernels) {
  const int64_t threads = torch::stable::get_num_threads();
  const int64_t tiles = convolution.tiles();
  // As many for each thread, as far as there are tiles.
  const int64_t full_blocks = std::max<int64_t>(1, (tiles + kTilesAtATime / 2) / kTilesAtATime);
  const int64_t blocks = std::min(round_up(full_blocks, threads), tiles);
  const int64_t workers = std::min(threads, blocks);
  const int64_t largest = (tiles + blocks - 1) / blocks;
  std::vector<float*> scratch;
  const auto lay_out = [&](Arena arena) {
    scratch.clear();
    for (int64_t worker = 0; worker < workers; ++worker) {
      scratch.push_back(arena.take(kernels.scratch_size(convolution, largest)));
    }
    return arena.used();
  };
  Tensor memory = torch::stable::empty({lay_out(Arena(nullptr)) + 16}, ScalarType::Float);
  auto address = reinterpret_cast<uintptr_t>(memory.mutable_data_ptr());
  lay_out(Arena(reinterpret_cast<float*>(round_up(address, 64))));
  const auto work = [&](int64_t begin, int64_t end) {
    for (int64_t worker = begin; worker < end; ++worker) {
      for (int64_t block = worker * blocks / workers; block < (worker + 1) * blocks / workers;
           ++block) {
        kernels.convolve(convolution, block * tiles / blocks, (block + 1) * tiles / blocks,
                         scratch[worker]);
      }
    }
  };
  torch::stable::parallel_for(0, workers, 1, work);
}

Tensor conv3x3_cpu(const Tensor& x, const Tensor& packed, int64_t out_channels,
                   const std::optional<Tensor>& bias, const std::optional<Tensor>& residual,
                   bool relu_input, bool relu_output, const std::string& instruction_set) {
  check_images("x", x);
  const int64_t images = x.size(0), channels = x.size(1), height = x.size(2), width = x.size(3);
  STD_TORCH_CHECK(packed.dim() == 4 && packed.size(0) == kElements && packed.size(3) == kPanel &&
                      packed.scalar_type() == ScalarType::Float && packed.is_contiguous(),
                  "packed must come from pack_conv3x3");
  STD_TORCH_CHECK(packed.size(2) == channels, "x has ", channels, " channels; packed is for ",
                  packed.size(2));
  STD_TORCH_CHECK(out_channels > 0 && (out_channels + kPanel - 1) / kPanel == packed.size(1),
                  "packed is not for ", out_channels, " output channels");
  Tensor output =
      torch::stable::empty({images, out_channels, height, width}, ScalarType::Float, std::nullopt,
                           std::nullopt, std::nullopt, MemoryFormat::ChannelsLast);
  const Tensor input = channels_last(x);
  Convolution convolution{images,
                          height,
                          width,
                          channels,
                          out_channels,
                          pixels_of(input),
                          static_cast<const float*>(packed.const_data_ptr()),
                          nullptr,
                          {},
                          pixels_of(output, static_cast<float*>(output.mutable_data_ptr())),
                          relu_input,
                          relu_output};
  std::optional<Tensor> added, shift;
  if (bias) {
    STD_TORCH_CHECK(bias->dim() == 1 && bias->size(0) == out_channels &&
                        bias->scalar_type() == ScalarType::Float,
                    "bias must be (out_channels,) of float32");
    shift = torch::stable::contiguous(*bias);
    convolution.bias = static_cast<const float*>(shift->const_data_ptr());
  }
  if (residual) {
    check_images("residual", *residual);
    STD_TORCH_CHECK(residual->size(0) == images && residual->size(1) == out_channels &&
                        residual->size(2) == height && residual->size(3) == width,
                    "residual does not have the shape of the output");
    added = channels_last(*residual);
    convolution.residual = pixels_of(*added);
  }
  const WinogradKernels& kernels = winograd_of(choose_instruction_set(instruction_set));
  if (convolution.tiles() > 0) convolve(convolution, kernels);
  return output;
}

}  // namespace
}  // namespace rmnet

STABLE_TORCH_LIBRARY_IMPL(rmnet, CPU, m) { m.impl("conv3x3", TORCH_BOX(&rmnet::conv3x3_cpu)); }
