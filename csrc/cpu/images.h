// Shared by operators on images: checks of float32 tensors (B, C, H, W), and threads.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include "pixels.h"

namespace rmnet {

inline void check_images(const char* name, const torch::stable::Tensor& images) {
  STD_TORCH_CHECK(images.dim() == 4 && images.scalar_type() == torch::headeronly::ScalarType::Float,
                  name, " must be float32 of shape (B, C, H, W)");
}

// Whether the channels of a pixel are adjacent in memory.
inline bool has_channels_last(const torch::stable::Tensor& images) {
  return images.stride(1) == 1 || images.size(1) == 1;
}

// Returns images with adjacent channels; copies only if necessary.
inline torch::stable::Tensor channels_last(const torch::stable::Tensor& images) {
  if (has_channels_last(images)) return images;
  return torch::stable::contiguous(images, torch::headeronly::MemoryFormat::ChannelsLast);
}

template <class Float>
Pixels<Float> pixels_of(const torch::stable::Tensor& images, Float* start) {
  return {start, images.stride(0), images.stride(2), images.stride(3)};
}

inline Pixels<const float> pixels_of(const torch::stable::Tensor& images) {
  return pixels_of(images, static_cast<const float*>(images.const_data_ptr()));
}

// Calls work(i) for every i in [0, count), spread over the threads.
template <class Work>
void for_each(int64_t count, const Work& work) {
  torch::stable::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) work(i);
  });
}

}  // namespace rmnet
