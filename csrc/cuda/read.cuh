// The second kernel: scores, softmax and weighted values, one piece of a block after another.
// combine.cuh merges the pieces that are not whole tiles.
#pragma once

#include "read_float.cuh"
#include "read_half.cuh"

namespace rmnet::cuda {

// Tile: HalfTile or FloatTile. Shared memory: Tile::Shared.
// Launch: grid (number of blocks that are resident at a time, for which the workspace is laid out),
// block (Tile::kThreads), dynamic shared bytes = sizeof(Tile::Shared).
template <typename Tile>
__global__ void __launch_bounds__(Tile::kThreads, 1)
    read_memory(ReadInputs<typename Tile::Element> inputs, Workspace workspace) {
  auto& shared = *reinterpret_cast<typename Tile::Shared*>(dynamic_shared());
  Pieces pieces(workspace.objects, inputs.shape.objects, Tile::kColumnParts);
  for (Piece piece; pieces.next(piece);) {
    read_piece(inputs, workspace, piece, shared, Tile());
  }
}

}  // namespace rmnet::cuda
