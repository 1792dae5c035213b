// Instructions that CUDA C++ does not expose, and the start of dynamic shared memory.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#error "rmnet needs compute capability 8.0 or newer: take older ones out of TORCH_CUDA_ARCH_LIST"
#endif

namespace rmnet::cuda {

__device__ __forceinline__ unsigned char* dynamic_shared() {
  extern __shared__ __align__(16) unsigned char rmnet_dynamic_shared[];
  return rmnet_dynamic_shared;
}

}  // namespace rmnet::cuda

namespace rmnet::ptx {

__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// Starts to copy 16 bytes, aligned to 16 at both ends; bypasses L1 and prefetches their 128-byte
// line into L2. If not `valid`, reads nothing and writes zeros.
__device__ __forceinline__ void copy_async_16(uint32_t shared_destination,
                                              const void* global_source, bool valid) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(shared_destination),
               "l"(__cvta_generic_to_global(global_source)), "r"(valid ? 16 : 0)
               : "memory");
}

// Groups the copies that this thread has started since its last group.
__device__ __forceinline__ void commit_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}

// Waits until all of this thread's groups but the latest `kPending` have arrived.
template <int kPending>
__device__ __forceinline__ void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// Loads four 8x8 matrices of 16-bit elements: lane 8 m + r passes the address of row r of matrix m;
// lane l gets columns 2 (l % 4) and the next, of row l / 4 of each matrix.
__device__ __forceinline__ void load_matrices(uint32_t (&fragment)[4],
                                              uint32_t shared_row_address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(fragment[0]), "=r"(fragment[1]), "=r"(fragment[2]), "=r"(fragment[3])
               : "r"(shared_row_address)
               : "memory");
}

// The same, but transposes each matrix.
__device__ __forceinline__ void load_matrices_transposed(uint32_t (&fragment)[4],
                                                         uint32_t shared_row_address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(fragment[0]), "=r"(fragment[1]), "=r"(fragment[2]), "=r"(fragment[3])
               : "r"(shared_row_address)
               : "memory");
}

// c (16x8, float) += a (16x16) b (16x8), by a warp. Not volatile: the operands are registers only.
template <typename Half>
__device__ __forceinline__ void multiply_add_16x8x16(float (&c)[4], const uint32_t (&a)[4],
                                                     uint32_t b0, uint32_t b1) {
  if constexpr (std::is_same_v<Half, __half>) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    static_assert(std::is_same_v<Half, __nv_bfloat16>);
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
}

}  // namespace rmnet::ptx
