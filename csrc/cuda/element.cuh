// Rounding to the element types of keys and values, and vectorised stores.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <cstring>
#include <type_traits>

namespace rmnet::cuda {

// Rounds two floats; the first goes to the lower half.
template <typename Half>
__device__ __forceinline__ uint32_t round_pair(float2 values) {
  uint32_t bits;
  if constexpr (std::is_same_v<Half, __half>) {
    const __half2 pair = __floats2half2_rn(values.x, values.y);
    memcpy(&bits, &pair, sizeof(bits));
  } else {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(values.x, values.y);
    memcpy(&bits, &pair, sizeof(bits));
  }
  return bits;
}

template <typename Half>
__device__ __forceinline__ float2 widen_pair(uint32_t bits) {
  if constexpr (std::is_same_v<Half, __half>) {
    __half2 pair;
    memcpy(&pair, &bits, sizeof(bits));
    return __half22float2(pair);
  } else {
    __nv_bfloat162 pair;
    memcpy(&pair, &bits, sizeof(bits));
    return __bfloat1622float2(pair);
  }
}

__device__ __forceinline__ float2 scaled(float2 values, float factor) {
  return make_float2(values.x * factor, values.y * factor);
}

__device__ __forceinline__ float4 scaled(float4 values, float factor) {
  return make_float4(values.x * factor, values.y * factor, values.z * factor, values.w * factor);
}

// Writes several elements at once, to an address aligned to their total size.
template <typename Element>
__device__ __forceinline__ void store(Element* destination, float2 values) {
  if constexpr (std::is_same_v<Element, float>) {
    *reinterpret_cast<float2*>(destination) = values;
  } else {
    *reinterpret_cast<uint32_t*>(destination) = round_pair<Element>(values);
  }
}

template <typename Element>
__device__ __forceinline__ void store(Element* destination, float4 values) {
  if constexpr (std::is_same_v<Element, float>) {
    *reinterpret_cast<float4*>(destination) = values;
  } else {
    *reinterpret_cast<uint2*>(destination) =
        make_uint2(round_pair<Element>(make_float2(values.x, values.y)),
                   round_pair<Element>(make_float2(values.z, values.w)));
  }
}

}  // namespace rmnet::cuda
