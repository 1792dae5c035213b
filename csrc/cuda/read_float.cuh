// Reading one piece of float elements, without tensor cores: their TF32 has 10 bits of mantissa.
//
// 8 warps, 64 query rows. Scores: a warp computes 8 rows and all keys of a tile, a lane 4 rows and
// every 16th key. Sums: a warp computes 16 rows and half of the columns, a lane every 4th of those
// rows and 4 of every 32 columns, which is 64 sums for 256 columns. Both steps take several
// thousand cycles, so keys and values need no second buffer: values arrive during the scores, keys
// during the sums.
#pragma once

#include "store.cuh"

namespace rmnet::cuda {

template <int kKeyWidth_, int kValueWidth_>
struct FloatTile {
  using Element = float;
  static constexpr int kKeyWidth = kKeyWidth_, kValueWidth = kValueWidth_;
  static constexpr int kWarps = 8, kThreads = kWarps * kWarp;
  static constexpr int kRows = 8 * kWarps, kKeys = 32;
  static constexpr int kColumnParts = kValueWidth > 256 ? 2 : 1;
  static constexpr int kColumns = kValueWidth / kColumnParts;
  static_assert(kKeyWidth % 4 == 0 && kColumns % 64 == 0 && kKeys % 16 == 0);

  // 4 floats of padding per row: vectors of 8 neighbouring rows then lie in different banks.
  static constexpr int kKeyStride = kKeyWidth + 4;
  static constexpr int kValueStride = kColumns + 4;
  static constexpr int kWeightStride = kKeys + 4;

  struct Shared {
    alignas(16) float queries[kRows * kKeyStride];
    alignas(16) float keys[kKeys * kKeyStride];
    alignas(16) float values[kKeys * kValueStride];
    alignas(16) float weights[kRows * kWeightStride];
    float decay[kRows];   // factor on a row's sums before the weights are added
    float factor[kRows];  // factor on a row's final sums
  };

  using Scores = float[4][kKeys / 16];
  using Sums = float4[4][kColumns / 64];
};

__device__ __forceinline__ const float4& vector_at(const float* pointer) {
  return *reinterpret_cast<const float4*>(pointer);
}

// Copies the tile's queries; each warp copies the 8 rows that only it needs.
template <typename Tile>
__device__ __forceinline__ void copy_queries(const ReadInputs<float>& inputs,
                                             const ObjectPlan& plan, const Piece& piece,
                                             typename Tile::Shared& shared) {
  const int first_row = threadIdx.x / kWarp * 8;
  const int row = piece.row_tile * Tile::kRows + first_row + threadIdx.x % 8;
  copy_rows<8, Tile::kKeyWidth, Tile::kKeyStride, Tile::kKeyWidth>(
      inputs.query_key + piece.object * inputs.query_key_stride,
      query_cell(plan, row, inputs.shape.width), 0, shared.queries + first_row * Tile::kKeyStride);
}

// Computes this lane's products of queries and keys: rows `first_row` + i, keys `threadIdx.x % 16`
// + 16 j. Sums of 16 channels are formed first, which reduces rounding errors to a third.
template <typename Tile>
__device__ __forceinline__ void multiply_keys(const typename Tile::Shared& shared, int first_row,
                                              typename Tile::Scores& products) {
  const float* query_row = shared.queries + first_row * Tile::kKeyStride;
  const float* key_row = shared.keys + threadIdx.x % 16 * Tile::kKeyStride;
#pragma unroll
  for (auto& row : products) {
    for (float& product : row) product = 0;
  }
#pragma unroll 1
  for (int first = 0; first < Tile::kKeyWidth; first += 16) {
    typename Tile::Scores parts{};
#pragma unroll
    for (int k = first; k < first + 16; k += 4) {
      float4 key[Tile::kKeys / 16];
#pragma unroll
      for (int j = 0; j < Tile::kKeys / 16; ++j) {
        key[j] = vector_at(key_row + 16 * j * Tile::kKeyStride + k);
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float4 query = vector_at(query_row + i * Tile::kKeyStride + k);
#pragma unroll
        for (int j = 0; j < Tile::kKeys / 16; ++j) {
          parts[i][j] += query.x * key[j].x;
          parts[i][j] += query.y * key[j].y;
          parts[i][j] += query.z * key[j].z;
          parts[i][j] += query.w * key[j].w;
        }
      }
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int j = 0; j < Tile::kKeys / 16; ++j) products[i][j] += parts[i][j];
    }
  }
}

// Turns products into weights, for this lane's rows. The last tile has only `keys` keys.
template <typename Tile>
__device__ __forceinline__ void weigh(const typename Tile::Scores& products, float score_factor,
                                      int first_row, int keys, RowSoftmax (&rows)[4],
                                      typename Tile::Shared& shared) {
  const int lane_key = threadIdx.x % 16;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    float top = -INFINITY;
#pragma unroll
    for (int j = 0; j < Tile::kKeys / 16; ++j) {
      if (lane_key + 16 * j < keys) top = fmaxf(top, products[i][j] * score_factor);
    }
    for (int lanes = 8; lanes > 0; lanes /= 2) {
      top = fmaxf(top, __shfl_xor_sync(kAllLanes, top, lanes));
    }
    const float row_decay = rows[i].raise(top);
    if (lane_key == 0) shared.decay[first_row + i] = row_decay;
#pragma unroll
    for (int j = 0; j < Tile::kKeys / 16; ++j) {
      const float score = fmaf(products[i][j], score_factor, -rows[i].reference);
      const float weight = lane_key + 16 * j < keys ? exp2f(score) : 0;
      shared.weights[(first_row + i) * Tile::kWeightStride + lane_key + 16 * j] = weight;
      rows[i].total += weight;
    }
  }
}

// Adds to this lane's sums: rows `first_row` + 4 i, columns `first_column` + 32 j and the next 3.
template <typename Tile>
__device__ __forceinline__ void multiply_values(const typename Tile::Shared& shared, int first_row,
                                                int first_column, typename Tile::Sums& sums) {
  constexpr int kVectors = Tile::kColumns / 64;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float decay = shared.decay[first_row + 4 * i];
#pragma unroll
    for (float4& sum : sums[i]) sum = scaled(sum, decay);
  }
  const float* weight_row = shared.weights + first_row * Tile::kWeightStride;
  const float* value_column = shared.values + first_column;
#pragma unroll 2
  for (int k = 0; k < Tile::kKeys; k += 4) {
    float weights[4][4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float4 vector = vector_at(weight_row + 4 * i * Tile::kWeightStride + k);
      weights[i][0] = vector.x;
      weights[i][1] = vector.y;
      weights[i][2] = vector.z;
      weights[i][3] = vector.w;
    }
#pragma unroll
    for (int key = 0; key < 4; ++key) {
#pragma unroll
      for (int j = 0; j < kVectors; ++j) {
        const float4 value = vector_at(value_column + (k + key) * Tile::kValueStride + 32 * j);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          sums[i][j].x += weights[i][key] * value.x;
          sums[i][j].y += weights[i][key] * value.y;
          sums[i][j].z += weights[i][key] * value.z;
          sums[i][j].w += weights[i][key] * value.w;
        }
      }
    }
  }
}

// Runs all steps for one piece.
template <int kKeyWidth, int kValueWidth>
__device__ __forceinline__ void read_piece(
    const ReadInputs<float>& inputs, const Workspace& workspace, const Piece& piece,
    typename FloatTile<kKeyWidth, kValueWidth>::Shared& shared, FloatTile<kKeyWidth, kValueWidth>) {
  using Tile = FloatTile<kKeyWidth, kValueWidth>;
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const ObjectPlan& plan = workspace.objects[piece.object];
  const int memory_cells = plan.memory_cells - piece.first_key_tile * Tile::kKeys;
  const float* keys = inputs.memory_key + piece.object * inputs.memory_key_stride;
  const float* values = inputs.memory_value + piece.object * inputs.memory_value_stride +
                        piece.column_part * Tile::kColumns;
  constexpr int kCopiedRows = KeyCells<Tile>::kRows;
  KeyCells<Tile> key_cells, value_cells;
  const auto copy_keys = [&](int tile) {
    const int first_lane = key_cells.look_up(inputs, workspace, piece, tile);
    copy_rows<kCopiedRows, kKeyWidth, Tile::kKeyStride, kKeyWidth>(
        keys, key_cells.cell(), first_lane, shared.keys + warp * kCopiedRows * Tile::kKeyStride);
    ptx::commit_copies();
  };
  const auto copy_values = [&](int tile) {
    const int first_lane = value_cells.look_up(inputs, workspace, piece, tile);
    copy_rows<kCopiedRows, Tile::kColumns, Tile::kValueStride, kValueWidth>(
        values, value_cells.cell(), first_lane,
        shared.values + warp * kCopiedRows * Tile::kValueStride);
    ptx::commit_copies();
  };
  const int score_row = warp * 8 + lane / 16 * 4;
  const int sum_row = warp / 2 * 16 + lane / 8;
  const int sum_column = warp % 2 * (Tile::kColumns / 2) + lane % 8 * 4;
  RowSoftmax rows[4];
  typename Tile::Sums sums{};

  copy_queries<Tile>(inputs, plan, piece, shared);
  copy_keys(0);
  for (int tile = 0; tile < piece.key_tiles; ++tile) {
    ptx::wait_for_copies<0>();
    __syncthreads();  // the keys have arrived; the previous values and weights are no longer in use
    copy_values(tile);
    typename Tile::Scores products;
    multiply_keys<Tile>(shared, score_row, products);
    weigh<Tile>(products, inputs.score_factor, score_row, memory_cells - tile * Tile::kKeys, rows,
                shared);
    ptx::wait_for_copies<0>();
    __syncthreads();  // the values and weights have arrived; the keys are no longer in use
    if (tile + 1 < piece.key_tiles) copy_keys(tile + 1);
    multiply_values<Tile>(shared, sum_row, sum_column, sums);
  }

#pragma unroll
  for (int i = 0; i < 4; ++i) {
    for (int lanes = 8; lanes > 0; lanes /= 2) {
      rows[i].total += __shfl_xor_sync(kAllLanes, rows[i].total, lanes);
    }
    if (lane % 16 == 0) {
      shared.factor[score_row + i] = finish_row<Tile>(workspace, piece, score_row + i, rows[i]);
    }
  }
  __syncthreads();  // also separates this piece from the copies of the next
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int row = sum_row + 4 * i;
    const float factor = shared.factor[row];
    write_row<Tile>(inputs, workspace, piece, row, [&](float* destination) {
#pragma unroll
      for (int j = 0; j < Tile::kColumns / 64; ++j) {
        store(destination + sum_column + 32 * j, scaled(sums[i][j], factor));
      }
    });
  }
}

}  // namespace rmnet::cuda
