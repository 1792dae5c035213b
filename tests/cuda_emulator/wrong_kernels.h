// Kernels with one error each, which has to be found.
#pragma once

#include "right_kernels.h"

namespace {

void diverge() {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}

void one_warp_in_a_barrier() {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncwarp(threadIdx.x == 40 ? 0x100 : 0xfffffeff);
  }
  if (threadIdx.x == 33) {
    __shfl_xor_sync(0xffffffff, 1, 1);
  }
}

void different_instructions() {
  float c[4] = {};
  const std::uint32_t a[4] = {};
  if (threadIdx.x < 16) {
    multiply_add_16x8x16<__half>(c, a, 0, 0);
  } else {
    multiply_add_16x8x16<__half>(c, a, 0, 0);
  }
}

void different_lanes() { __shfl_xor_sync(threadIdx.x < 16 ? 0xffffffff : 0xffff0000, 1, 1); }

void shuffle_beyond_its_lanes() {
  if (threadIdx.x < 8) {
    __shfl_xor_sync(0xff, 1, 8);
  }
}

void write_beyond_shared() { const_cast<volatile unsigned char*>(dynamic_shared())[64] = 1; }

void load_at_8() {
  std::uint32_t fragment[4];
  load_matrices(fragment, shared_address(dynamic_shared() + 8));
}

void load_beyond_shared() {
  std::uint32_t fragment[4];
  load_matrices(fragment, shared_address(dynamic_shared() + 64));
}

void copy_from(const unsigned char* source) {
  copy_async_16(shared_address(dynamic_shared()), source, /*valid=*/true);
}

// The other warp's part is read without a barrier: for ThreadSanitizer.
void race_of_ldmatrix() {
  auto* words = reinterpret_cast<int*>(dynamic_shared());
  const unsigned neighbour = (threadIdx.x + 32) % 64;
  for (int i = 0; i < 4; ++i) {
    words[threadIdx.x * 4 + i] = 0;
  }
  std::uint32_t fragment[4];
  load_matrices(fragment, shared_address(words + neighbour * 4));
}

void race_of_copies(const float4* source) {
  auto* vectors = reinterpret_cast<float4*>(dynamic_shared());
  copy_async_16(shared_address(vectors + threadIdx.x), source + threadIdx.x, /*valid=*/true);
  commit_copies();
  __syncthreads();  // in place of: wait, then meet
  wait_for_copies<0>();
  volatile float seen = vectors[threadIdx.x ^ 1].x;
  (void)seen;
}

void race_in_a_warp(int* out) {
  auto* words = reinterpret_cast<int*>(dynamic_shared());
  words[threadIdx.x] = __shfl_xor_sync(0xffffffff, 1, 1);  // which orders nothing
  out[threadIdx.x] = words[threadIdx.x ^ 1];
}

void race_of_blocks(int* out) {
  if (threadIdx.x == blockIdx.x) {
    out[0] = 1;
  }
}

const Check kWrong[] = {
    {"missing_barrier", run_reverse<false>},
    {"different_barriers", [] { launch(diverge, 1, 64, 0, kSeed); }},
    {"stuck", [] { launch(one_warp_in_a_barrier, 1, 64, 0, kSeed); }},
    {"different_instructions", [] { launch(different_instructions, 1, 32, 0, kSeed); }},
    {"different_lanes", [] { launch(different_lanes, 1, 32, 0, kSeed); }},
    {"shuffle_beyond_its_lanes", [] { launch(shuffle_beyond_its_lanes, 1, 32, 0, kSeed); }},
    {"write_beyond_shared", [] { launch(write_beyond_shared, 1, 1, 64, kSeed); }},
    {"load_at_8", [] { launch(load_at_8, 1, 32, 64, kSeed); }},
    {"load_beyond_shared", [] { launch(load_beyond_shared, 1, 32, 64, kSeed); }},
    {"copy_beyond_its_buffer",
     [] {
       GlobalBuffer<unsigned char> source(40);
       launch(copy_from, 1, 1, 64, kSeed, source.data() + 32);
     }},
    {"copy_from_8",
     [] {
       GlobalBuffer<unsigned char> source(40);
       launch(copy_from, 1, 1, 64, kSeed, source.data() + 8);
     }},
    {"too_much_shared", [] { launch(diverge, 1, 64, 228 * 1024, kSeed); }},
    {"race_of_ldmatrix", [] { launch(race_of_ldmatrix, 1, 64, 1024, kSeed); }},
    {"race_of_copies",
     [] {
       GlobalBuffer<float4> source(64);
       launch(race_of_copies, 1, 64, 1024, kSeed, source.data());
     }},
    {"race_in_a_warp",
     [] {
       GlobalBuffer<int> out(32);
       launch(race_in_a_warp, 1, 32, 128, kSeed, out.data());
     }},
    {"race_of_blocks",
     [] {
       GlobalBuffer<int> out(1);
       launch(race_of_blocks, 4, 32, 0, kSeed, out.data());
     }},
};

}  // namespace
