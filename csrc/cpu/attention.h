// The arithmetic of the CPU read, behind one table of functions an instruction set.
//
// An object's queries attend to its memory cells in segments: runs of cells that one thread
// takes. Each segment leaves a partial sum that is not normalised yet, so that segments can be
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

// What a segment found, for each of `rows` queries (there is room for `padded_rows`).
struct Partial {
  float* readout;  // (padded_rows, padded_width): sum of e^(s - maximum) v
  float* maximum;  // (padded_rows,): the largest score
  float* total;    // (padded_rows,): sum of e^(s - maximum)
};

// Some memory cells of one object. `cells` are positions in its (T, h, w).
struct Segment {
  const void* keys;    // (T h w, key_width)
  const void* values;  // (T h w, value_width)
  const int32_t* cells;
  int64_t num_cells;
  float zeroed_cells;  // so many cells more, of score 0 and value 0
};

// Widths of keys and values.
struct Widths {
  int64_t key, value;
};

// One instruction set's functions for one element type.
struct AttentionKernels {
  int row_multiple;     // queries are padded to a multiple of this
  int column_multiple;  // value widths too
  int cells_at_a_time;  // cells packed at once; segments should be multiples of it

  // Floats of scratch that one thread needs.
  int64_t (*scratch_size)(Widths widths);
  // Packs queries `first`.. of `cells` (positions in (h, w)), times `scale`; row `cells.size()`
  // and beyond are zero. Writes padded rows x key width floats.
  void (*pack_queries)(const void* query_key, const int32_t* cells, int64_t num_cells,
                       int64_t padded_rows, int64_t key_width, float scale, float* packed);
  // Reads one segment into one partial sum.
  void (*attend)(const Queries& queries, const Segment& segment, Widths widths,
                 const Partial& partial, float* scratch);
  // Writes row `row` of `count` merged partial sums, normalised.
  void (*merge)(const Partial* partials, int64_t count, int64_t row, int64_t value_width,
                void* readout);
};

// An instruction set's functions for every element type.
struct AttentionTable {
  AttentionKernels of_float, of_half, of_bfloat16;
};

extern const AttentionTable portable_attention;
#ifdef RMNET_X86
extern const AttentionTable avx2_attention, avx512_attention;
#endif

}  // namespace rmnet
