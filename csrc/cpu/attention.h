// The arithmetic of the CPU read: a table of functions for each instruction set.
//
// An object's queries attend to its memory cells in segments, runs of cells that one thread
// processes. Each segment gives a partial sum that is not normalised, so that segments can be
// merged: softmax(s) v = sum_i e^(m_i - m) r_i / sum_i e^(m_i - m) l_i.
#pragma once

#include <cstdint>

#include "instruction_set.h"

namespace rmnet {

// An object's queries, scaled and packed by `AttentionKernels::pack_queries`.
struct Queries {
  const float* packed;
  int64_t rows;
};

// The result of a segment for each of `rows` queries, with room for `padded_rows`.
struct Partial {
  float* readout;  // (padded_rows, padded_width): sum of e^(s - maximum) v
  float* maximum;  // (padded_rows,): the largest score
  float* total;    // (padded_rows,): sum of e^(s - maximum)
};

// Some memory cells of one object; `cells` are positions in its (T, h, w).
struct Segment {
  const void* keys;    // (T h w, key_width)
  const void* values;  // (T h w, value_width)
  const int32_t* cells;
  int64_t num_cells;
  float zeroed_cells;  // number of further cells, of score 0 and value 0
};

// Widths of keys and values.
struct Widths {
  int64_t key, value;
};

// Functions of one instruction set for one element type.
struct AttentionKernels {
  int row_multiple;     // the number of queries is padded to a multiple of this
  int column_multiple;  // value widths are padded to a multiple of this
  int cells_at_a_time;  // number of cells packed at once; segments should be multiples of it

  // Returns the number of floats of scratch memory that one thread needs.
  int64_t (*scratch_size)(Widths widths);
  // Packs the queries of `cells` (positions in (h, w)), times `scale`: padded_rows x key_width
  // floats. Rows from `num_cells` on are zero.
  void (*pack_queries)(const void* query_key, const int32_t* cells, int64_t num_cells,
                       int64_t padded_rows, int64_t key_width, float scale, float* packed);
  // Reads one segment into one partial sum.
  void (*attend)(const Queries& queries, const Segment& segment, Widths widths,
                 const Partial& partial, float* scratch);
  // Merges row `row` of `count` partial sums and writes it, normalised. Overwrites the first sum.
  void (*merge)(const Partial* partials, int64_t count, int64_t row, int64_t value_width,
                void* readout);
};

// Functions of one instruction set for every element type.
struct AttentionTable {
  AttentionKernels of_float, of_half, of_bfloat16;
};

extern const AttentionTable portable_attention;
#ifdef RMNET_X86
extern const AttentionTable avx2_attention, avx512_attention;
#endif

}  // namespace rmnet
