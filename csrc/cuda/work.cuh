// Division of the work, known as "stream-K". A *tile* is kRows query rows and kColumns value
// columns of one object; its keys are divided into key tiles of kKeys. One key tile of one tile is
// a *unit* of work. The units of all objects form one sequence, ordered by object, row tile, column
// part and key tile; every block of the read gets an equal run of it. The units of one tile in a
// block's run are a *piece*. A piece that is a whole tile is finished by its block. The others, at
// most two per block, are left in the workspace and merged by combine.cuh.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace rmnet::cuda {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffff;

__host__ __device__ constexpr int64_t divide_up(int64_t size, int64_t part) {
  return (size + part - 1) / part;
}

struct Shape {
  int objects, frames, height, width;

  __host__ __device__ int cells() const { return height * width; }
};

template <typename Element>
struct ReadInputs {
  Shape shape;
  // Each object's part is contiguous; consecutive objects are `*_stride` elements apart.
  const Element* query_key;
  const Element* memory_key;
  const Element* memory_value;
  int64_t query_key_stride, memory_key_stride, memory_value_stride;
  float score_factor;  // factor on products of keys, for a softmax in base 2
  Element* readout;    // (objects, height, width, value width)
};

// The work of one object; written by plan.cuh.
struct ObjectPlan {
  int64_t first_unit;  // number of units of the objects before
  int query_x, query_y, query_width, query_cells;
  int rows;          // query_cells, plus one zero query if its readout is the background
  int memory_cells;  // number of cells inside their boxes, in present frames
  int sink_cells;    // number of zeroed cells, which only take their share of the softmax
  int row_tiles, key_tiles;
};

// One frame's part of an object's memory cells; written by plan.cuh.
struct alignas(16) FrameRegion {
  int cells_before;  // number of memory cells in the frames before
  int first_cell;    // upper left cell of the box, as a position in (frames, height, width)
  int box_width;
};

// Global memory for the launches of one call.
struct Workspace {
  ObjectPlan* objects;  // (objects + 1); the last holds only the total number of units
  FrameRegion* frames;  // (objects, frames)
  float* background;    // (objects, value width); only for background rows in whole tiles
  float* sums;          // (2 blocks, kRows, kColumns): weighted values of unfinished pieces
  float2* row_softmax;  // (2 blocks, kRows): reference and total weight of these rows

  // Places the workspace in `memory` and counts its `bytes`; if `memory` is null, only counts.
  template <typename Tile>
  static Workspace lay_out(const Shape& shape, int blocks, unsigned char* memory, size_t& bytes) {
    bytes = 0;
    const auto take = [&](auto*& part, size_t count) {
      using Part = std::remove_reference_t<decltype(part)>;
      part = memory == nullptr ? nullptr : reinterpret_cast<Part>(memory + bytes);
      bytes += divide_up(count * sizeof(*part), 256) * 256;
    };
    const size_t objects = shape.objects, rows = size_t{2} * blocks * Tile::kRows;
    Workspace workspace;
    take(workspace.objects, objects + 1);
    take(workspace.frames, objects * shape.frames);
    take(workspace.background, objects * Tile::kValueWidth);
    take(workspace.sums, rows * Tile::kColumns);
    take(workspace.row_softmax, rows);
    return workspace;
  }
};

// The largest possible number of units for any boxes, which bounds the number of useful blocks.
template <typename Tile>
int64_t most_units(const Shape& shape) {
  return shape.objects * divide_up(shape.cells(), Tile::kRows) * Tile::kColumnParts *
         divide_up(int64_t{shape.frames} * shape.cells(), Tile::kKeys);
}

// Assignment of units to blocks.
class Shares {
 public:
  __device__ Shares(int64_t units, int blocks)
      : units_(units), blocks_(units < blocks ? units : blocks) {}

  // The first unit of a block; for block `blocks`, the number of units.
  __device__ int64_t first_unit(int64_t block) const {
    return block < blocks_ ? block * units_ / blocks_ : units_;
  }
  __device__ int block_of(int64_t unit) const {
    return static_cast<int>(((unit + 1) * blocks_ - 1) / units_);
  }

 private:
  int64_t units_, blocks_;  // every one of `blocks_` has a unit
};

// The slot where a block leaves a piece. It has one for a piece that begins here and continues in
// the next block, and one for a piece that began in an earlier block.
__device__ inline int64_t slot_of(int block, bool begins_here) {
  return int64_t{2} * block + begins_here;
}

struct Piece {
  int object, row_tile, column_part;
  int first_key_tile, key_tiles;
  bool whole;
  int64_t slot;  // if not whole
};

// Iterates over the pieces of this block.
class Pieces {
 public:
  __device__ Pieces(const ObjectPlan* objects, int count, int column_parts)
      : objects_(objects), column_parts_(column_parts), object_(0) {
    const Shares shares(objects[count].first_unit, gridDim.x);
    unit_ = shares.first_unit(blockIdx.x);
    end_ = shares.first_unit(int64_t{blockIdx.x} + 1);
    if (unit_ == end_) return;
    // The last object that begins at or before the unit: earlier ones that begin there are empty.
    for (int end = count; end - object_ > 1;) {
      const int middle = (object_ + end) / 2;
      (objects[middle].first_unit <= unit_ ? object_ : end) = middle;
    }
  }

  // Returns false when there are no more pieces.
  __device__ bool next(Piece& piece) {
    if (unit_ == end_) return false;
    while (objects_[object_ + 1].first_unit <= unit_) ++object_;
    const int64_t within = unit_ - objects_[object_].first_unit;
    const int key_tiles = objects_[object_].key_tiles;
    const int tile = static_cast<int>(within / key_tiles);
    piece.object = object_;
    piece.row_tile = tile / column_parts_;
    piece.column_part = tile % column_parts_;
    piece.first_key_tile = static_cast<int>(within % key_tiles);
    const int64_t rest = end_ - unit_;
    piece.key_tiles = key_tiles - piece.first_key_tile;
    if (piece.key_tiles > rest) piece.key_tiles = static_cast<int>(rest);
    piece.whole = piece.key_tiles == key_tiles;
    piece.slot = slot_of(blockIdx.x, piece.first_key_tile == 0);
    unit_ += piece.key_tiles;
    return true;
  }

 private:
  const ObjectPlan* objects_;
  int column_parts_, object_;
  int64_t unit_, end_;
};

}  // namespace rmnet::cuda
