// The third kernel: merges the unfinished pieces of the read and writes the remaining cells.
#pragma once

#include "element.cuh"
#include "softmax.cuh"
#include "work.cuh"

namespace rmnet::cuda {

// Each thread handles 4 columns of a cell. Some of an object's blocks merge the cells inside the
// query box, a few cells per block. The others write the cells outside, many per block, so that the
// background is merged once for all of them.
template <typename Tile>
struct CombineBlocks {
  static constexpr int kThreadsPerCell = Tile::kValueWidth / 4;
  static constexpr int kCellsAtOnce = 256 / kThreadsPerCell;
  static constexpr int kThreads = kThreadsPerCell * kCellsAtOnce;
  static constexpr int kCellsOutside = 32;  // per block

  __host__ __device__ static int64_t merging(const Shape& shape) {
    return divide_up(shape.cells(), kCellsAtOnce);
  }
  __host__ __device__ static int64_t per_object(const Shape& shape) {
    return merging(shape) + divide_up(shape.cells(), kCellsOutside);
  }
};

// The blocks of the read that share a tile.
struct TileBlocks {
  int first, last;
};

template <typename Tile>
__device__ __forceinline__ TileBlocks blocks_of_tile(const Workspace& workspace, int objects,
                                                     int read_blocks, const ObjectPlan& plan,
                                                     int row, int column) {
  const Shares shares(workspace.objects[objects].first_unit, read_blocks);
  const int64_t tile = int64_t{row / Tile::kRows} * Tile::kColumnParts + column / Tile::kColumns;
  const int64_t unit = plan.first_unit + tile * plan.key_tiles;
  return {shares.block_of(unit), shares.block_of(unit + plan.key_tiles - 1)};
}

// Merges four columns of a row that several blocks share: the softmax starts with the sink and
// continues over the blocks' pieces.
template <typename Tile>
__device__ __forceinline__ float4 merge_row(const Workspace& workspace, const ObjectPlan& plan,
                                            TileBlocks blocks, int row, int column) {
  constexpr int kAtOnce = 8;  // loads in flight: memory latency dominates here
  float reference = plan.sink_cells == 0 ? -INFINITY : 0;
  float total = static_cast<float>(plan.sink_cells);
  float4 sum = make_float4(0, 0, 0, 0);
  for (int first = blocks.first; first <= blocks.last; first += kAtOnce) {
    float2 softmax[kAtOnce];
    float4 sums[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      softmax[i] = make_float2(-INFINITY, 0);
      sums[i] = make_float4(0, 0, 0, 0);
      if (first + i > blocks.last) continue;
      const int64_t slot = slot_of(first + i, first + i == blocks.first);
      const int64_t slot_row = slot * Tile::kRows + row % Tile::kRows;
      softmax[i] = workspace.row_softmax[slot_row];
      sums[i] = *reinterpret_cast<const float4*>(workspace.sums + slot_row * Tile::kColumns +
                                                 column % Tile::kColumns);
    }
    const float before = reference;
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) reference = fmaxf(reference, softmax[i].x);
    const float decay = exp2f(before - reference);
    total *= decay;
    sum = scaled(sum, decay);
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const float weight = exp2f(softmax[i].x - reference);
      total += softmax[i].y * weight;
      sum.x += sums[i].x * weight;
      sum.y += sums[i].y * weight;
      sum.z += sums[i].z * weight;
      sum.w += sums[i].w * weight;
    }
  }
  return scaled(sum, 1 / total);
}

// The row of a cell among the object's query rows; -1 outside the query box, or if there is nothing
// to read.
__device__ __forceinline__ int query_row(const ObjectPlan& plan, int cell, int grid_width) {
  const int y = cell / grid_width - plan.query_y, x = cell % grid_width - plan.query_x;
  const int row = y * plan.query_width + x;
  const bool inside = y >= 0 && x >= 0 && x < plan.query_width && row < plan.query_cells;
  return inside && plan.key_tiles != 0 ? row : -1;
}

// The readout outside the query box: zeros, or the readout of a zero query.
template <typename Tile>
__device__ __forceinline__ float4 background(const Workspace& workspace, const Shape& shape,
                                             int read_blocks, int object, int column) {
  const ObjectPlan& plan = workspace.objects[object];
  const int row = plan.query_cells;
  if (plan.key_tiles == 0 || plan.rows == row) return make_float4(0, 0, 0, 0);
  const TileBlocks blocks =
      blocks_of_tile<Tile>(workspace, shape.objects, read_blocks, plan, row, column);
  if (blocks.first != blocks.last) return merge_row<Tile>(workspace, plan, blocks, row, column);
  return *reinterpret_cast<const float4*>(workspace.background +
                                          int64_t{object} * Tile::kValueWidth + column);
}

// Launch: grid (objects * CombineBlocks<Tile>::per_object(shape)), block
// (CombineBlocks<Tile>::kThreads), no dynamic shared memory. `read_blocks` is the read's grid.
template <typename Tile>
__global__ void __launch_bounds__(CombineBlocks<Tile>::kThreads)
    combine_pieces(Shape shape, Workspace workspace, int read_blocks,
                   typename Tile::Element* readout) {
  using Blocks = CombineBlocks<Tile>;
  const int per_object = static_cast<int>(Blocks::per_object(shape));
  const int merging = static_cast<int>(Blocks::merging(shape));
  const int object = blockIdx.x / per_object, block = blockIdx.x % per_object;
  const int cell_in_block = threadIdx.x / Blocks::kThreadsPerCell;
  const int column = threadIdx.x % Blocks::kThreadsPerCell * 4;
  const ObjectPlan& plan = workspace.objects[object];
  readout += int64_t{object} * shape.cells() * Tile::kValueWidth + column;
  if (block < merging) {
    const int cell = block * Blocks::kCellsAtOnce + cell_in_block;
    const int row = cell < shape.cells() ? query_row(plan, cell, shape.width) : -1;
    if (row < 0) return;
    const TileBlocks blocks =
        blocks_of_tile<Tile>(workspace, shape.objects, read_blocks, plan, row, column);
    if (blocks.first == blocks.last) return;  // the read kernel finished it
    store(readout + int64_t{cell} * Tile::kValueWidth,
          merge_row<Tile>(workspace, plan, blocks, row, column));
  } else {
    const float4 value = background<Tile>(workspace, shape, read_blocks, object, column);
    const int first = (block - merging) * Blocks::kCellsOutside;
    const int end = min(first + Blocks::kCellsOutside, shape.cells());
    for (int cell = first + cell_in_block; cell < end; cell += Blocks::kCellsAtOnce) {
      if (query_row(plan, cell, shape.width) < 0) {
        store(readout + int64_t{cell} * Tile::kValueWidth, value);
      }
    }
  }
}

}  // namespace rmnet::cuda
