// Which cells every object reads, and which thread reads what.
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
  int64_t zeroed_cells;               // cells outside that take their share of the softmax
  bool has_background;                // what is outside the query box reads as a query of zeros

  int64_t rows() const {
    return static_cast<int64_t>(query_cells.size()) + (has_background ? 1 : 0);
  }
  int64_t num_memory_cells() const { return static_cast<int64_t>(memory_cells.size()); }
  // Pairs of a query and a memory cell; none if nothing has to be read.
  int64_t pairs() const { return rows() * num_memory_cells(); }
};

// Memory cells [first, last) of an object: its `number`-th span.
struct Span {
  int64_t object, number, first, last;
};

// Throws if a box is not inside the grid.
std::vector<ObjectPlan> plan_objects(const Inputs& inputs);

// Cuts the objects' memory into at most `workers` lists of spans that cost about as much, at
// multiples of `granule` cells. Objects that have no pairs have no span.
std::vector<std::vector<Span>> share_work(const std::vector<ObjectPlan>& plans, int64_t workers,
                                          int64_t granule);

}  // namespace rmnet
