// rmnet::regional_read for CUDA: three launches on the current stream, with sizes that depend on
// shapes alone. Nothing waits for the device, so that CUDA graphs can capture it.
#include <cuda_runtime.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/macros.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <string>

#include "../regional_read.h"
#include "combine.cuh"
#include "plan.cuh"
#include "read.cuh"

namespace rmnet::cuda {
namespace {

// Room for two unfinished pieces of 128 rows on each of 158 multiprocessors.
constexpr int64_t kMostWorkspaceBytes = 40 << 20;

cudaStream_t current_stream(int device) {
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(device, &stream));
  return static_cast<cudaStream_t>(stream);
}

int attribute_of(int device, cudaDeviceAttr attribute) {
  int value = 0;
  STD_CUDA_CHECK(cudaDeviceGetAttribute(&value, attribute, device));
  return value;
}

// Reserves shared memory for the read and returns how many of its blocks are resident at a time.
template <typename Tile>
int prepare_device(int device) {
  constexpr int kSharedBytes = sizeof(typename Tile::Shared);
  STD_TORCH_CHECK(attribute_of(device, cudaDevAttrComputeCapabilityMajor) >= 8 &&
                      attribute_of(device, cudaDevAttrMaxSharedMemoryPerBlockOptin) >= kSharedBytes,
                  "rmnet::regional_read needs a device of compute capability 8.0 or newer");
  STD_CUDA_CHECK(cudaFuncSetAttribute(read_memory<Tile>,
                                      cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes));
  int per_multiprocessor = 0;
  STD_CUDA_CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(
      &per_multiprocessor, read_memory<Tile>, Tile::kThreads, kSharedBytes));
  return per_multiprocessor * attribute_of(device, cudaDevAttrMultiProcessorCount);
}

// Calls `prepare_device` once per device. It is harmless if two threads both do so.
template <typename Tile>
int resident_blocks(int device) {
  static std::array<std::atomic<int>, 64> known{};
  if (device >= static_cast<int>(known.size())) return prepare_device<Tile>(device);
  int blocks = known[device].load();
  if (blocks == 0) known[device] = blocks = prepare_device<Tile>(device);
  return blocks;
}

template <typename Tile>
int count_read_blocks(const Shape& shape, int device) {
  constexpr int64_t kBytes = 2 * Tile::kRows * (Tile::kColumns * sizeof(float) + sizeof(float2));
  const int64_t blocks = std::min<int64_t>(resident_blocks<Tile>(device), most_units<Tile>(shape));
  return static_cast<int>(std::clamp<int64_t>(blocks, 1, kMostWorkspaceBytes / kBytes));
}

template <typename Tile>
void launch(const CheckedInputs& checked, Tensor& readout) {
  using Element = typename Tile::Element;
  const Inputs& inputs = checked.inputs;
  const int device = readout.get_device_index();
  const Shape shape{static_cast<int>(inputs.objects), static_cast<int>(inputs.frames),
                    static_cast<int>(inputs.height), static_cast<int>(inputs.width)};
  const int64_t combine_blocks = shape.objects * CombineBlocks<Tile>::per_object(shape);
  STD_TORCH_CHECK(combine_blocks <= INT32_MAX, "too many objects for one call");
  const int read_blocks = count_read_blocks<Tile>(shape, device);

  size_t bytes = 0;
  Workspace::lay_out<Tile>(shape, read_blocks, nullptr, bytes);
  Tensor memory =
      torch::stable::new_empty(readout, {static_cast<int64_t>(bytes)}, ScalarType::Byte);
  const Workspace workspace = Workspace::lay_out<Tile>(
      shape, read_blocks, static_cast<unsigned char*>(memory.mutable_data_ptr()), bytes);

  const PlanInputs plan_inputs{shape, reinterpret_cast<const int32_t*>(inputs.query_boxes),
                               reinterpret_cast<const int32_t*>(inputs.memory_boxes),
                               inputs.present, inputs.zeroed};
  const ReadInputs<Element> read_inputs{shape,
                                        static_cast<const Element*>(inputs.query_key),
                                        static_cast<const Element*>(inputs.memory_key),
                                        static_cast<const Element*>(inputs.memory_value),
                                        inputs.query_key_stride,
                                        inputs.memory_key_stride,
                                        inputs.memory_value_stride,
                                        inputs.scale * kLog2E,
                                        static_cast<Element*>(readout.mutable_data_ptr())};
  const cudaStream_t stream = current_stream(device);
  plan_work<Tile><<<1, kPlanThreads, 0, stream>>>(plan_inputs, workspace);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  read_memory<Tile><<<read_blocks, Tile::kThreads, sizeof(typename Tile::Shared), stream>>>(
      read_inputs, workspace);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  combine_pieces<Tile>
      <<<static_cast<int>(combine_blocks), CombineBlocks<Tile>::kThreads, 0, stream>>>(
          shape, workspace, read_blocks, read_inputs.readout);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
}

template <int kKeyWidth, int kValueWidth>
void launch_for_dtype(const CheckedInputs& checked, Tensor& readout) {
  if (checked.dtype == ScalarType::Half) {
    launch<HalfTile<__half, kKeyWidth, kValueWidth>>(checked, readout);
  } else if (checked.dtype == ScalarType::BFloat16) {
    launch<HalfTile<__nv_bfloat16, kKeyWidth, kValueWidth>>(checked, readout);
  } else {
    launch<FloatTile<kKeyWidth, kValueWidth>>(checked, readout);
  }
}

// Rows are copied 16 bytes at a time, but a view into a larger tensor may begin anywhere.
Tensor aligned(const Tensor& tensor) {
  const int64_t per_copy = tensor.scalar_type() == ScalarType::Float ? 4 : 8;
  const bool already = reinterpret_cast<uintptr_t>(tensor.const_data_ptr()) % 16 == 0 &&
                       (tensor.size(0) < 2 || tensor.stride(0) % per_copy == 0);
  return already ? tensor : torch::stable::clone(tensor);
}

Tensor regional_read(const Tensor& query_key, const Tensor& memory_key, const Tensor& memory_value,
                     const Tensor& query_boxes, const Tensor& memory_boxes,
                     const std::optional<Tensor>& present, bool zeroed, double scale,
                     const std::string& /*instruction_set*/) {
  const torch::stable::accelerator::DeviceGuard guard(memory_key.get_device_index());
  const CheckedInputs checked =
      check_inputs(aligned(query_key), aligned(memory_key), aligned(memory_value), query_boxes,
                   memory_boxes, present, zeroed, scale);
  const Inputs& inputs = checked.inputs;
  Tensor readout = torch::stable::new_empty(
      memory_value, {inputs.objects, inputs.height, inputs.width, inputs.value_width});
  if (inputs.objects == 0) return readout;
  if (inputs.key_width == 128 && inputs.value_width == 512) {
    launch_for_dtype<128, 512>(checked, readout);
  } else if (inputs.key_width == 64 && inputs.value_width == 192) {
    launch_for_dtype<64, 192>(checked, readout);
  } else {
    STD_TORCH_CHECK(false,
                    "rmnet::regional_read on CUDA supports keys and values of width (128, 512) "
                    "or (64, 192), not (",
                    inputs.key_width, ", ", inputs.value_width, ")");
  }
  return readout;
}

}  // namespace
}  // namespace rmnet::cuda

STABLE_TORCH_LIBRARY_IMPL(rmnet, CUDA, m) {
  m.impl("regional_read", TORCH_BOX(&rmnet::cuda::regional_read));
}
