// Kernels that check what the primitives do; each `Check` ends, or says what is unexpected.
#pragma once

#include <cmath>
#include <cstdint>

#include "ptx.cuh"

namespace {

using emulator::fail;
using emulator::GlobalBuffer;
using emulator::launch;
using namespace rmnet::ptx;
using rmnet::cuda::dynamic_shared;

constexpr std::uint64_t kSeed = 7;

void expect(bool right, const char* what, int index = 0) {
  if (!right) fail("unexpected: %s (%d)", what, index);
}

template <typename Half>
Half half_of(int value) {
  if constexpr (std::is_same_v<Half, __half>) {
    return __float2half(static_cast<float>(value));
  } else {
    return __float2bfloat16(static_cast<float>(value));
  }
}

// c (16, 16) = a (16, 16) b (16, 16) by one warp: A by ldmatrix, and B by ldmatrix.trans from its
// rows, or by ldmatrix from its columns' rows. The rows in shared memory are 24 halves apart.
template <typename Half, bool kColumnsOfBAreRows>
void product(const Half* a, const Half* b, float* c) {
  constexpr int kPitch = 24;
  auto* shared_a = reinterpret_cast<Half*>(dynamic_shared());
  auto* shared_b = shared_a + 16 * kPitch;
  const int lane = threadIdx.x;
  for (int i = lane; i < 256; i += 32) {
    shared_a[i / 16 * kPitch + i % 16] = a[i];
    shared_b[i / 16 * kPitch + i % 16] = b[i];
  }
  __syncwarp();
  // The four 8x8 matrices of x4, by the lane that names the row: down first, then right.
  const int down = lane % 16, right = lane / 16 * 8;
  std::uint32_t fragment_a[4], fragment_b[4];
  load_matrices(fragment_a, shared_address(shared_a + down * kPitch + right));
  float sums[2][4] = {};
  if (kColumnsOfBAreRows) {
    load_matrices(fragment_b, shared_address(shared_b + down * kPitch + right));
    multiply_add_16x8x16<Half>(sums[0], fragment_a, fragment_b[0], fragment_b[2]);
    multiply_add_16x8x16<Half>(sums[1], fragment_a, fragment_b[1], fragment_b[3]);
  } else {
    load_matrices_transposed(fragment_b, shared_address(shared_b + down * kPitch + right));
    multiply_add_16x8x16<Half>(sums[0], fragment_a, fragment_b[0], fragment_b[1]);
    multiply_add_16x8x16<Half>(sums[1], fragment_a, fragment_b[2], fragment_b[3]);
  }
  for (int n = 0; n < 2; ++n) {
    for (int i = 0; i < 4; ++i) {
      c[(lane / 4 + i / 2 * 8) * 16 + n * 8 + lane % 4 * 2 + i % 2] = sums[n][i];
    }
  }
}

// Small integers: exact in both types, and their sums in float, in any order.
template <typename Half, bool kColumnsOfBAreRows>
void check_product() {
  GlobalBuffer<Half> a(256), b(256);
  GlobalBuffer<float> c(256);
  int plain_a[16][16], plain_b[16][16];
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 16; ++j) {
      plain_a[i][j] = (3 * i + 5 * j + i * j) % 11 - 5;
      plain_b[i][j] = (7 * i + 2 * j + i * i * j) % 13 - 6;
      a[i * 16 + j] = half_of<Half>(plain_a[i][j]);
      b[kColumnsOfBAreRows ? j * 16 + i : i * 16 + j] = half_of<Half>(plain_b[i][j]);
    }
  }
  launch(product<Half, kColumnsOfBAreRows>, 1, 32, 2 * 16 * 24 * sizeof(Half), kSeed, a.data(),
         b.data(), c.data());
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 16; ++j) {
      int sum = 0;
      for (int k = 0; k < 16; ++k) {
        sum += plain_a[i][k] * plain_b[k][j];
      }
      expect(c[i * 16 + j] == static_cast<float>(sum), "element of the product", i * 16 + j);
    }
  }
}

void product_of_halves() {
  check_product<__half, false>();
  check_product<__half, true>();
}

void product_of_bfloat16() {
  check_product<__nv_bfloat16, false>();
  check_product<__nv_bfloat16, true>();
}

// One group a copy; what has landed is seen by its thread only after the wait that covers it.
void copy_groups(const float4* source) {
  auto* shared = reinterpret_cast<volatile float*>(dynamic_shared());
  for (int i = 0; i < 3; ++i) {
    copy_async_16(shared_address(dynamic_shared() + 16 * i), source + i, /*valid=*/i != 1);
    if (i != 2) {
      commit_copies();
    }
  }
  expect(std::isnan(shared[0]) && std::isnan(shared[4]) && std::isnan(shared[8]), "an early copy");
  wait_for_copies<1>();
  expect(shared[3] == 3 && std::isnan(shared[4]) && std::isnan(shared[8]), "group 0");
  wait_for_copies<0>();
  expect(shared[4] == 0 && shared[7] == 0 && std::isnan(shared[8]), "group 1, zeros");
  commit_copies();
  commit_copies();
  wait_for_copies<2>();
  expect(std::isnan(shared[8]), "two groups may be pending");
  wait_for_copies<1>();
  expect(shared[8] == 8 && shared[11] == 11, "an empty group may be pending");
}

void copies_land_with_their_group() {
  GlobalBuffer<float4> source(3);
  for (int i = 0; i < 12; ++i) {
    reinterpret_cast<float*>(source.data())[i] = static_cast<float>(i);
  }
  launch(copy_groups, 1, 1, 48, kSeed, source.data());
}

void shuffle_all(int* out) {
  const int lane = threadIdx.x;
  out[lane] = __shfl_sync(0xffffffff, lane, 31 - lane);
  out[32 + lane] = __shfl_xor_sync(0xffffffff, lane, 5);
  out[64 + lane] = __shfl_up_sync(0xffffffff, lane, 3);
  out[96 + lane] = __shfl_sync(0xffffffff, lane, 1, 8);
  out[128 + lane] = __shfl_up_sync(0xffffffff, lane, 3, 8);
  if (lane < 4) {
    out[160 + lane] = __shfl_xor_sync(0xf, lane, 1);
  }
}

void shuffles() {
  GlobalBuffer<int> out(164);
  launch(shuffle_all, 1, 32, 0, kSeed, out.data());
  for (int lane = 0; lane < 32; ++lane) {
    expect(out[lane] == 31 - lane, "__shfl_sync", lane);
    expect(out[32 + lane] == (lane ^ 5), "__shfl_xor_sync", lane);
    expect(out[64 + lane] == (lane < 3 ? lane : lane - 3), "__shfl_up_sync", lane);
    expect(out[96 + lane] == lane / 8 * 8 + 1, "__shfl_sync, width 8", lane);
    expect(out[128 + lane] == (lane % 8 < 3 ? lane : lane - 3), "__shfl_up_sync, width 8", lane);
    if (lane < 4) expect(out[160 + lane] == (lane ^ 1), "__shfl_xor_sync of four lanes", lane);
  }
}

// Each block reverses its part through shared memory; the second warp may be a part of one.
template <bool kBarrier>
void reverse(const int* in, int* out) {
  auto* shared = reinterpret_cast<int*>(dynamic_shared());
  const unsigned first = (blockIdx.y * gridDim.x + blockIdx.x) * blockDim.x;
  for (int round = 0; round < 3; ++round) {
    shared[threadIdx.x] = in[first + threadIdx.x] + round;
    if (kBarrier) {
      __syncthreads();
    }
    out[first + threadIdx.x] = shared[blockDim.x - 1 - threadIdx.x];
    if (kBarrier) {
      __syncthreads();
    }
  }
}

template <bool kBarrier>
void run_reverse() {
  for (unsigned threads : {1u, 50u, 256u}) {
    GlobalBuffer<int> in(6 * threads), out(6 * threads);
    for (unsigned i = 0; i < 6 * threads; ++i) {
      in[i] = static_cast<int>(i);
    }
    launch(reverse<kBarrier>, dim3(3, 2), threads, threads * sizeof(int), kSeed, in.data(),
           out.data());
    for (unsigned i = 0; i < 6 * threads; ++i) {
      const unsigned mirrored = i / threads * threads + threads - 1 - i % threads;
      expect(out[i] == static_cast<int>(mirrored) + 2, "element of the reverse", i);
    }
  }
}

// Threads that have ended are not waited for.
void half_ends(int* out) {
  if (threadIdx.x >= 32) return;
  __syncthreads();
  out[threadIdx.x] = 1;
}

void threads_may_end_early() {
  GlobalBuffer<int> out(32);
  launch(half_ends, 1, 64, 0, kSeed, out.data());
  for (int i = 0; i < 32; ++i) {
    expect(out[i] == 1, "thread", i);
  }
}

void read_unwritten(float* out, int* index) {
  out[0] = reinterpret_cast<float*>(dynamic_shared())[5];
  out[1] = __half2float(reinterpret_cast<__half*>(dynamic_shared())[5]);
  out[2] = __bfloat162float(reinterpret_cast<__nv_bfloat16*>(dynamic_shared())[5]);
  index[0] = reinterpret_cast<int*>(dynamic_shared())[5];
}

void unwritten_memory_is_poison() {
  GlobalBuffer<float> out(4);
  GlobalBuffer<int> index(1);
  launch(read_unwritten, 1, 1, 64, kSeed, out.data(), index.data());
  for (int i = 0; i < 4; ++i) {
    expect(std::isnan(out[i]), "a number", i);
  }
  expect(index[0] == -1, "an index");
}

struct Check {
  const char* name;
  void (*run)();
};

const Check kRight[] = {
    {"product_of_halves", product_of_halves},
    {"product_of_bfloat16", product_of_bfloat16},
    {"copies_land_with_their_group", copies_land_with_their_group},
    {"shuffles", shuffles},
    {"barriers", run_reverse<true>},
    {"threads_may_end_early", threads_may_end_early},
    {"unwritten_memory_is_poison", unwritten_memory_is_poison},
};

}  // namespace
