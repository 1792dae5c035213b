// The second kernel: scores, softmax and weighted values, the pieces of a block one after another.
// What is not finished there is merged by combine.cuh.
#pragma once

#include "read_float.cuh"
#include "read_half.cuh"

namespace rmnet::cuda {

// Tile: HalfTile or FloatTile. Shared memory: Tile::Shared.
// Launch: grid (as many blocks as are resident at a time; the workspace is laid out for them), block
// (Tile::kThreads), dynamic shared bytes = sizeof(Tile::Shared).
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
