// The cells that every object reads, and their division among threads.
#pragma once

#include <cstdint>
#include <vector>

#include "../regional_read.h"

namespace rmnet {

// One object's read.
struct ObjectPlan {
  Box query_box;
  std::vector<int32_t> query_cells;   // positions in (h, w), row by row
  std::vector<int32_t> memory_cells;  // positions in (T, h, w)
  int64_t zeroed_cells;               // number of cells outside, which take a share of the softmax
  bool has_background;                // cells outside the query box read as zero queries do

  int64_t rows() const {
    return static_cast<int64_t>(query_cells.size()) + (has_background ? 1 : 0);
  }
  int64_t num_memory_cells() const { return static_cast<int64_t>(memory_cells.size()); }
  // Number of pairs of a query and a memory cell; 0 if there is nothing to read.
  int64_t pairs() const { return rows() * num_memory_cells(); }
};

// Memory cells [first, last) of an object, its span number `number`.
struct Span {
  int64_t object, number, first, last;
};

// Throws if a box is not inside the grid.
std::vector<ObjectPlan> plan_objects(const Inputs& inputs);

// Cuts the objects' memory into one list of spans per worker, of about equal cost, at multiples of
// `granule` cells. Objects without pairs have no span.
std::vector<std::vector<Span>> share_work(const std::vector<ObjectPlan>& plans, int64_t workers,
                                          int64_t granule);

}  // namespace rmnet
