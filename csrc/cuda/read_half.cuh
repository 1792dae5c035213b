// Reading one piece of 16-bit elements: copies, order of the steps, and results.
#pragma once

#include "half_tile.cuh"
#include "store.cuh"

namespace rmnet::cuda {

// Copies keys and values to shared memory before they are needed.
template <typename Tile>
class HalfCopies {
 public:
  using Element = typename Tile::Element;

  __device__ __forceinline__ HalfCopies(const ReadInputs<Element>& inputs,
                                        const Workspace& workspace, const Piece& piece)
      : inputs_(inputs),
        workspace_(workspace),
        piece_(piece),
        keys_(inputs.memory_key + piece.object * inputs.memory_key_stride),
        values_(inputs.memory_value + piece.object * inputs.memory_value_stride +
                piece.column_part * Tile::kColumns) {}

  // Starts one group: the keys of `tile` and the values of the previous tile, used together.
  __device__ __forceinline__ void start(int tile, typename Tile::Shared& shared) {
    constexpr int kRows = KeyCells<Tile>::kRows;
    const int first_row = threadIdx.x / kWarp * kRows;
    if (tile < piece_.key_tiles) {
      const int lane = key_cells_.look_up(inputs_, workspace_, piece_, tile);
      copy_rows<kRows, Tile::kKeyWidth, Tile::kKeyStride, Tile::kKeyWidth>(
          keys_, key_cells_.cell(), lane,
          shared.keys[tile % Tile::kStages] + first_row * Tile::kKeyStride);
    }
    const int before = tile - 1;
    if (before >= 0 && before < piece_.key_tiles) {
      const int lane = value_cells_.look_up(inputs_, workspace_, piece_, before);
      copy_rows<kRows, Tile::kColumns, Tile::kValueStride, Tile::kValueWidth>(
          values_, value_cells_.cell(), lane,
          shared.values[before % Tile::kStages] + first_row * Tile::kValueStride);
    }
    ptx::commit_copies();
  }

 private:
  const ReadInputs<Element>& inputs_;
  const Workspace& workspace_;
  const Piece& piece_;
  const Element* keys_;
  const Element* values_;
  KeyCells<Tile> key_cells_, value_cells_;
};

// Runs all steps for one piece. The weights of the next tile are computed between the same barriers
// as the sums of this tile. Warps 0 to 3 compute them first, warps 4 to 7 last: warps w and w + 4
// share a scheduler, so that one keeps the tensor cores busy during the softmax of the other.
template <typename Half, int kKeyWidth, int kValueWidth>
__device__ __forceinline__ void read_piece(
    const ReadInputs<Half>& inputs, const Workspace& workspace, const Piece& piece,
    typename HalfTile<Half, kKeyWidth, kValueWidth>::Shared& shared,
    HalfTile<Half, kKeyWidth, kValueWidth>) {
  using Tile = HalfTile<Half, kKeyWidth, kValueWidth>;
  constexpr int kStages = Tile::kStages;
  const ObjectPlan& plan = workspace.objects[piece.object];
  HalfCopies<Tile> copies(inputs, workspace, piece);
  for (int tile = 0; tile < kStages; ++tile) copies.start(tile, shared);

  typename Tile::QueryFragments queries;
  load_queries<Tile>(inputs, plan, piece, queries);
  typename Tile::Sums sums{};
  RowSoftmax rows[2];
  const int memory_cells = plan.memory_cells - piece.first_key_tile * Tile::kKeys;
  const auto weigh_tile = [&](int tile) {
    if (tile == piece.key_tiles) return;
    typename Tile::Scores scores;
    multiply_keys<Tile>(queries, shared.keys[tile % kStages], inputs.score_factor, scores);
    weigh<Tile>(scores, memory_cells - tile * Tile::kKeys, rows, shared.weights[tile % 2],
                shared.decay[tile % 2]);
  };
  const bool first_half = threadIdx.x < Tile::kThreads / 2;
  ptx::wait_for_copies<kStages - 1>();
  __syncthreads();  // the first keys have arrived
  weigh_tile(0);
  for (int tile = 0; tile < piece.key_tiles; ++tile) {
    ptx::wait_for_copies<kStages - 2>();
    // The weights and values of this tile and the keys of the next have arrived; the previous
    // values and weights are no longer in use.
    __syncthreads();
    copies.start(tile + kStages, shared);
    if (first_half) weigh_tile(tile + 1);
    multiply_values<Tile>(shared.weights[tile % 2], shared.decay[tile % 2],
                          shared.values[tile % kStages], sums);
    if (!first_half) weigh_tile(tile + 1);
  }

  const int warp = threadIdx.x / kWarp;
#pragma unroll
  for (int second = 0; second < 2; ++second) {
    rows[second].total += __shfl_xor_sync(kAllLanes, rows[second].total, 1);
    rows[second].total += __shfl_xor_sync(kAllLanes, rows[second].total, 2);
    const int row = warp * 16 + fragment_row() + 8 * second;
    if (fragment_column() == 0) {
      shared.factor[row] = finish_row<Tile>(workspace, piece, row, rows[second]);
    }
  }
  __syncthreads();  // also separates this piece from the copies of the next
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int second = 0; second < 2; ++second) {
      const int row = warp / 4 * 64 + 16 * i + fragment_row() + 8 * second;
      const float factor = shared.factor[row];
      write_row<Tile>(inputs, workspace, piece, row, [&](auto* destination) {
#pragma unroll
        for (int j = 0; j < Tile::kWarpColumns / 8; ++j) {
          const float* pair = &sums[i][j][2 * second];
          store(destination + warp % 4 * Tile::kWarpColumns + 8 * j + fragment_column(),
                make_float2(pair[0] * factor, pair[1] * factor));
        }
      });
    }
  }
}

}  // namespace rmnet::cuda
