// Tiles of 16-bit elements, and their arithmetic on tensor cores.
//
// 8 warps, 128 query rows. Scores: a warp computes 16 rows and all keys of a tile, so that the
// softmax of a row stays in one warp. Sums: a warp computes 64 rows and a quarter of the columns.
// Weights go from one arrangement to the other through shared memory.
//
// Why tiles have 128 rows and 256 of 512 columns, not 64 rows and all columns: each key is then
// read once for 128 rows, which halves the L2 traffic that limits large regions, and no row is
// spread over warps. The price is that scores are computed twice, 20 % more arithmetic.
#pragma once

#include "cells.cuh"
#include "element.cuh"
#include "softmax.cuh"

namespace rmnet::cuda {

template <typename Half, int kKeyWidth_, int kValueWidth_>
struct HalfTile {
  using Element = Half;
  static constexpr int kKeyWidth = kKeyWidth_, kValueWidth = kValueWidth_;
  static constexpr int kWarps = 8, kThreads = kWarps * kWarp;
  static constexpr int kRows = 16 * kWarps, kKeys = 32;
  static constexpr int kColumnParts = kValueWidth > 256 ? 2 : 1;
  static constexpr int kColumns = kValueWidth / kColumnParts;
  static constexpr int kWarpColumns = kColumns / 4;
  static constexpr int kStages = 3;
  static_assert(kKeyWidth % 16 == 0 && kWarpColumns % 16 == 0 && kKeys % 16 == 0);

  // 16 bytes of padding per row: the 8 rows of a matrix then lie in different banks.
  static constexpr int kKeyStride = kKeyWidth + 8;
  static constexpr int kValueStride = kColumns + 8;
  static constexpr int kWeightStride = kKeys + 8;

  struct Shared {
    alignas(16) Half keys[kStages][kKeys * kKeyStride];
    alignas(16) Half values[kStages][kKeys * kValueStride];
    alignas(16) Half weights[2][kRows * kWeightStride];
    float decay[2][kRows];  // factor on a row's sums before the weights are added
    float factor[kRows];    // factor on a row's final sums
  };

  using QueryFragments = uint32_t[kKeyWidth / 16][4];
  using Scores = float[kKeys / 8][4];
  using Sums = float[4][kWarpColumns / 8][4];
};

// In the fragments of the tensor cores, a lane holds two rows (`lane / 4` and the row 8 below) and
// two of every 8 columns (`2 (lane % 4)` and the next). In an array float[4], [0, 1] belong to the
// first row and [2, 3] to the second.
__device__ __forceinline__ int fragment_row() { return threadIdx.x % kWarp / 4; }
__device__ __forceinline__ int fragment_column() { return threadIdx.x % 4 * 2; }

// Loads the queries of this warp's 16 rows from global memory to registers, once per piece.
template <typename Tile>
__device__ __forceinline__ void load_queries(const ReadInputs<typename Tile::Element>& inputs,
                                             const ObjectPlan& plan, const Piece& piece,
                                             typename Tile::QueryFragments& queries) {
  const auto* source = inputs.query_key + piece.object * inputs.query_key_stride;
#pragma unroll
  for (int second = 0; second < 2; ++second) {
    const int row = threadIdx.x / kWarp * 16 + fragment_row() + 8 * second;
    const int cell = query_cell(plan, piece.row_tile * Tile::kRows + row, inputs.shape.width);
    const auto* key = source + int64_t{max(cell, 0)} * Tile::kKeyWidth + fragment_column();
#pragma unroll
    for (int k = 0; k < Tile::kKeyWidth / 16; ++k) {
#pragma unroll
      for (int further = 0; further < 2; ++further) {
        const auto* pair = reinterpret_cast<const uint32_t*>(key + 16 * k + 8 * further);
        queries[k][second + 2 * further] = cell < 0 ? 0 : __ldg(pair);
      }
    }
  }
}

// scores = factor * queries * keys^T, for this warp's rows.
template <typename Tile>
__device__ __forceinline__ void multiply_keys(const typename Tile::QueryFragments& queries,
                                              const typename Tile::Element* keys, float factor,
                                              typename Tile::Scores& scores) {
  const int lane = threadIdx.x % kWarp;
  const uint32_t row =
      ptx::shared_address(keys + (lane % 8 + lane / 16 * 8) * Tile::kKeyStride + lane / 8 % 2 * 8);
#pragma unroll
  for (auto& score : scores) score[0] = score[1] = score[2] = score[3] = 0;
#pragma unroll
  for (int k = 0; k < Tile::kKeyWidth / 16; ++k) {
#pragma unroll
    for (int j = 0; j < Tile::kKeys / 16; ++j) {
      uint32_t key[4];  // two sets of 8 keys, two halves of 16 channels each
      ptx::load_matrices(key, row + (16 * j * Tile::kKeyStride + 16 * k) * 2);
      using Half = typename Tile::Element;
      ptx::multiply_add_16x8x16<Half>(scores[2 * j], queries[k], key[0], key[1]);
      ptx::multiply_add_16x8x16<Half>(scores[2 * j + 1], queries[k], key[2], key[3]);
    }
  }
#pragma unroll
  for (auto& score : scores) {
    for (float& s : score) s *= factor;
  }
}

// Turns scores into weights, for this warp's rows. The last tile has only `keys` keys.
template <typename Tile>
__device__ __forceinline__ void weigh(typename Tile::Scores& scores, int keys,
                                      RowSoftmax (&rows)[2], typename Tile::Element* weights,
                                      float* decay) {
  using Half = typename Tile::Element;
  const int first_row = threadIdx.x / kWarp * 16 + fragment_row();
  if (keys < Tile::kKeys) {
#pragma unroll
    for (int j = 0; j < Tile::kKeys / 8; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (8 * j + fragment_column() + i % 2 >= keys) scores[j][i] = -INFINITY;
      }
    }
  }
#pragma unroll
  for (int second = 0; second < 2; ++second) {
    float top = -INFINITY;
#pragma unroll
    for (int j = 0; j < Tile::kKeys / 8; ++j) {
      top = fmaxf(top, fmaxf(scores[j][2 * second], scores[j][2 * second + 1]));
    }
    top = fmaxf(top, __shfl_xor_sync(kAllLanes, top, 1));
    top = fmaxf(top, __shfl_xor_sync(kAllLanes, top, 2));
    const int row = first_row + 8 * second;
    const float row_decay = rows[second].raise(top);
    if (fragment_column() == 0) decay[row] = row_decay;
#pragma unroll
    for (int j = 0; j < Tile::kKeys / 8; ++j) {
      const float* pair = &scores[j][2 * second];
      const uint32_t rounded = round_pair<Half>(make_float2(
          exp2f(pair[0] - rows[second].reference), exp2f(pair[1] - rows[second].reference)));
      *reinterpret_cast<uint32_t*>(
          &weights[row * Tile::kWeightStride + 8 * j + fragment_column()]) = rounded;
      // The total adds the rounded weights that multiply the values, so that they sum to one.
      const float2 used = widen_pair<Half>(rounded);
      rows[second].total += used.x + used.y;
    }
  }
}

// sums = decay * sums + weights * values, for this warp's 64 rows and kWarpColumns columns.
template <typename Tile>
__device__ __forceinline__ void multiply_values(const typename Tile::Element* weights,
                                                const float* decay,
                                                const typename Tile::Element* values,
                                                typename Tile::Sums& sums) {
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int first_row = warp / 4 * 64, first_column = warp % 4 * Tile::kWarpColumns;
  float decays[4][2];
  bool decayed = false;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int second = 0; second < 2; ++second) {
      decays[i][second] = decay[first_row + 16 * i + fragment_row() + 8 * second];
      decayed = decayed || decays[i][second] != 1;
    }
  }
  if (decayed) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (auto& sum : sums[i]) {
        sum[0] *= decays[i][0];
        sum[1] *= decays[i][0];
        sum[2] *= decays[i][1];
        sum[3] *= decays[i][1];
      }
    }
  }
  __syncwarp();
  const uint32_t weight_row =
      ptx::shared_address(weights + (first_row + lane % 16) * Tile::kWeightStride + lane / 16 * 8);
  const uint32_t value_row =
      ptx::shared_address(values + lane % 16 * Tile::kValueStride + first_column + lane / 16 * 8);
#pragma unroll
  for (int k = 0; k < Tile::kKeys / 16; ++k) {
    uint32_t weight[4][4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      ptx::load_matrices(weight[i], weight_row + (16 * i * Tile::kWeightStride + 16 * k) * 2);
    }
#pragma unroll
    for (int j = 0; j < Tile::kWarpColumns / 16; ++j) {
      uint32_t value[4];  // two sets of 8 columns, two halves of 16 keys each
      ptx::load_matrices_transposed(value, value_row + (16 * k * Tile::kValueStride + 16 * j) * 2);
      using Half = typename Tile::Element;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        ptx::multiply_add_16x8x16<Half>(sums[i][2 * j], weight[i], value[0], value[1]);
        ptx::multiply_add_16x8x16<Half>(sums[i][2 * j + 1], weight[i], value[2], value[3]);
      }
    }
  }
}

}  // namespace rmnet::cuda
