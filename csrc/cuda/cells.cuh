// The grid cell of a tile's row, and copies of such rows to shared memory.
#pragma once

#include "ptx.cuh"
#include "work.cuh"

namespace rmnet::cuda {

// The grid cell of a query row; -1 for the background row and for rows past the end, which have
// zero queries.
__device__ __forceinline__ int query_cell(const ObjectPlan& plan, int row, int grid_width) {
  if (row >= plan.query_cells) return -1;
  return (plan.query_y + row / plan.query_width) * grid_width + plan.query_x +
         row % plan.query_width;
}

// The position in (frames, height, width) of the object's memory cell `index`; -1 past the end.
__device__ inline int memory_cell(const ObjectPlan& plan, const FrameRegion* frames,
                                  const Shape& shape, int index) {
  if (index >= plan.memory_cells) return -1;
  // The last frame that begins at or before `index`: of several that begin at the same index, only
  // the last one has cells.
  int frame = 0;
  for (int end = shape.frames; end - frame > 1;) {
    const int middle = (frame + end) / 2;
    (frames[middle].cells_before <= index ? frame : end) = middle;
  }
  const FrameRegion region = frames[frame];
  const int within = index - region.cells_before;
  return region.first_cell + within / region.box_width * shape.width + within % region.box_width;
}

// Looks up the cells of a warp's kRows rows in consecutive key tiles. A look-up takes a search and
// a division, which is slow compared with the copy, so the lanes look up several tiles at once.
template <typename Tile>
class KeyCells {
 public:
  static constexpr int kRows = Tile::kKeys / Tile::kWarps;
  static constexpr int kTilesAtOnce = kWarp / kRows;

  // `tile` counts from the first tile of the piece and increases by one with each call. Returns the
  // lane that has the cell of the first row.
  __device__ __forceinline__ int look_up(const ReadInputs<typename Tile::Element>& inputs,
                                         const Workspace& workspace, const Piece& piece, int tile) {
    if (tile % kTilesAtOnce == 0) {
      const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
      const int key_tile = piece.first_key_tile + tile + lane / kRows;
      cell_ = memory_cell(workspace.objects[piece.object],
                          workspace.frames + int64_t{piece.object} * inputs.shape.frames,
                          inputs.shape, key_tile * Tile::kKeys + warp * kRows + lane % kRows);
    }
    return tile % kTilesAtOnce * kRows;
  }

  __device__ __forceinline__ int cell() const { return cell_; }

 private:
  int cell_ = -1;
};

// Starts to copy kWidth columns of kRows rows, by one warp, to shared rows that are kStride apart.
// Row r comes from the cell that lane `first_lane` + r has in `cell`; -1 gives zeros. Rows of the
// source have kSourceWidth elements.
template <int kRows, int kWidth, int kStride, int kSourceWidth, typename Element>
__device__ __forceinline__ void copy_rows(const Element* source, int cell, int first_lane,
                                          Element* destination) {
  constexpr int kPerCopy = 16 / sizeof(Element);
  constexpr int kCopiesPerRow = kWidth / kPerCopy;
  static_assert(kWidth % kPerCopy == 0 && kStride % kPerCopy == 0);
  static_assert(kRows * kCopiesPerRow % kWarp == 0, "all lanes take part in each shuffle");
  const uint32_t shared = ptx::shared_address(destination);
#pragma unroll
  for (int first = 0; first < kRows * kCopiesPerRow; first += kWarp) {
    const int copy = first + threadIdx.x % kWarp;
    const int row = copy / kCopiesPerRow, column = copy % kCopiesPerRow * kPerCopy;
    const int row_cell = __shfl_sync(kAllLanes, cell, first_lane + row);
    ptx::copy_async_16(shared + (row * kStride + column) * static_cast<int>(sizeof(Element)),
                       source + int64_t{max(row_cell, 0)} * kSourceWidth + column, row_cell >= 0);
  }
}

}  // namespace rmnet::cuda
