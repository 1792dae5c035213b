// Destinations of a piece's rows once all its keys have been read.
#pragma once

#include "cells.cuh"
#include "element.cuh"
#include "softmax.cuh"

namespace rmnet::cuda {

// Calls `write` with the destination of the piece's first column in row `row` of its tile: elements
// of the readout, or floats of the background row or of an unfinished row. Does nothing if the tile
// has no such row.
template <typename Tile, typename Write>
__device__ __forceinline__ void write_row(const ReadInputs<typename Tile::Element>& inputs,
                                          const Workspace& workspace, const Piece& piece, int row,
                                          const Write& write) {
  const ObjectPlan& plan = workspace.objects[piece.object];
  const int query = piece.row_tile * Tile::kRows + row;
  if (query >= plan.rows) return;
  const int64_t object = piece.object;
  const int cell = query_cell(plan, query, inputs.shape.width);
  const int first_column = piece.column_part * Tile::kColumns;
  if (piece.whole && cell >= 0) {
    const int64_t readout_row = object * inputs.shape.cells() + cell;
    write(inputs.readout + readout_row * Tile::kValueWidth + first_column);
  } else if (piece.whole) {
    write(workspace.background + object * Tile::kValueWidth + first_column);
  } else {
    write(workspace.sums + (piece.slot * Tile::kRows + row) * Tile::kColumns);
  }
}

// By one thread per row: returns the factor on the row's sums before they are stored. For an
// unfinished piece it is 1, and the state of the softmax is left in the workspace.
template <typename Tile>
__device__ inline float finish_row(const Workspace& workspace, const Piece& piece, int row,
                                   const RowSoftmax& softmax) {
  if (piece.whole) return normaliser(softmax, workspace.objects[piece.object].sink_cells);
  workspace.row_softmax[piece.slot * Tile::kRows + row] =
      make_float2(softmax.reference, softmax.total);
  return 1;
}

}  // namespace rmnet::cuda
