// The checked arguments of rmnet::regional_read, shared by its implementations.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <cstdint>
#include <optional>

namespace rmnet {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// The grid cells [x0, x1) x [y0, y1).
struct Box {
  int32_t x0, y0, x1, y1;
};
static_assert(sizeof(Box) == 4 * sizeof(int32_t));

// The arguments as pointers and sizes. Each object's part of an array is contiguous; consecutive
// objects are `*_stride` elements apart (0 for a query key that is expanded over the objects).
struct Inputs {
  int64_t objects, frames, height, width, key_width, value_width;
  const void* query_key;     // (objects, height, width, key_width)
  const void* memory_key;    // (objects, frames, height, width, key_width)
  const void* memory_value;  // (objects, frames, height, width, value_width)
  int64_t query_key_stride, memory_key_stride, memory_value_stride;
  const Box* query_boxes;   // (objects,), contiguous
  const Box* memory_boxes;  // (objects, frames), contiguous
  const bool* present;      // (objects, frames), contiguous; null: every frame is present
  bool zeroed;              // whether cells outside their box stay in the softmax, as zeros
  float scale;              // factor on products of keys

  int64_t cells() const { return height * width; }
};

// Tensors that own what `inputs` points to.
struct CheckedInputs {
  Tensor query_key, memory_key, memory_value, query_boxes, memory_boxes;
  std::optional<Tensor> present;
  ScalarType dtype;
  Inputs inputs;
};

namespace detail {

inline void check_shape(const char* name, const Tensor& tensor,
                        std::initializer_list<int64_t> shape) {
  bool same = tensor.dim() == static_cast<int64_t>(shape.size());
  int64_t axis = 0;
  for (const int64_t size : shape) {
    same = same && tensor.size(axis++) == size;
  }
  STD_TORCH_CHECK(same, name, " does not have the shape that fits memory_key and memory_value");
}

// Contiguous except for the stride of the first axis.
inline bool is_row_contiguous(const Tensor& tensor) {
  int64_t stride = 1;
  for (int64_t axis = tensor.dim() - 1; axis > 0; --axis) {
    if (tensor.size(axis) != 1 && tensor.stride(axis) != stride) return false;
    stride *= tensor.size(axis);
  }
  return true;
}

inline Tensor row_contiguous(const Tensor& tensor) {
  return is_row_contiguous(tensor) ? tensor : torch::stable::contiguous(tensor);
}

}  // namespace detail

// Checks everything that can be checked without reading a tensor's elements. The Python wrapper
// makes the same checks with better messages; these are for direct callers of the operator.
inline CheckedInputs check_inputs(const Tensor& query_key, const Tensor& memory_key,
                                  const Tensor& memory_value, const Tensor& query_boxes,
                                  const Tensor& memory_boxes, const std::optional<Tensor>& present,
                                  bool zeroed, double scale) {
  STD_TORCH_CHECK(memory_key.dim() == 5, "memory_key must be (n, T, h, w, ck)");
  STD_TORCH_CHECK(memory_value.dim() == 5, "memory_value must be (n, T, h, w, cv)");
  const int64_t n = memory_key.size(0), frames = memory_key.size(1), h = memory_key.size(2),
                w = memory_key.size(3), ck = memory_key.size(4), cv = memory_value.size(4);
  detail::check_shape("query_key", query_key, {n, h, w, ck});
  detail::check_shape("memory_value", memory_value, {n, frames, h, w, cv});
  detail::check_shape("query_boxes", query_boxes, {n, 4});
  detail::check_shape("memory_boxes", memory_boxes, {n, frames, 4});
  STD_TORCH_CHECK(frames * h * w < INT32_MAX, "the memory has 2^31 cells or more");
  STD_TORCH_CHECK(h * w * ck > 0 && cv > 0, "the grid, the keys or the values are empty");

  const ScalarType dtype = memory_key.scalar_type();
  STD_TORCH_CHECK(
      dtype == ScalarType::Float || dtype == ScalarType::Half || dtype == ScalarType::BFloat16,
      "keys and values must be float32, float16 or bfloat16");
  STD_TORCH_CHECK(query_key.scalar_type() == dtype && memory_value.scalar_type() == dtype,
                  "query_key, memory_key and memory_value must have one dtype");
  STD_TORCH_CHECK(
      query_boxes.scalar_type() == ScalarType::Int && memory_boxes.scalar_type() == ScalarType::Int,
      "boxes must be int32");
  if (present) {
    detail::check_shape("present", *present, {n, frames});
    STD_TORCH_CHECK(present->scalar_type() == ScalarType::Bool, "present must be bool");
  }
  const auto device = memory_key.device();
  STD_TORCH_CHECK(query_key.device() == device && memory_value.device() == device &&
                      query_boxes.device() == device && memory_boxes.device() == device &&
                      (!present || present->device() == device),
                  "all tensors must be on one device");

  CheckedInputs checked{detail::row_contiguous(query_key),
                        detail::row_contiguous(memory_key),
                        detail::row_contiguous(memory_value),
                        torch::stable::contiguous(query_boxes),
                        torch::stable::contiguous(memory_boxes),
                        std::nullopt,
                        dtype,
                        {}};
  if (present) checked.present = torch::stable::contiguous(*present);
  checked.inputs = Inputs{
      n,
      frames,
      h,
      w,
      ck,
      cv,
      checked.query_key.const_data_ptr(),
      checked.memory_key.const_data_ptr(),
      checked.memory_value.const_data_ptr(),
      checked.query_key.stride(0),
      checked.memory_key.stride(0),
      checked.memory_value.stride(0),
      static_cast<const Box*>(checked.query_boxes.const_data_ptr()),
      static_cast<const Box*>(checked.memory_boxes.const_data_ptr()),
      present ? static_cast<const bool*>(checked.present->const_data_ptr()) : nullptr,
      zeroed,
      static_cast<float>(scale),
  };
  return checked;
}

}  // namespace rmnet
