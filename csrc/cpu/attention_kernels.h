// The functions of attention.h for any instruction set. Each of attention_*.cpp includes this once,
// below its `#pragma GCC target`. The linker must not share any of this code between those files,
// so everything is a template of the instruction set, and the standard library is not used.
//
// Matrices are laid out so that the lanes of a vector are queries while scores are computed (no sum
// or maximum across lanes, no transposed keys) and channels while values are summed:
//
//   scores (cells, 48 queries) = keys (cells, ck) x queries (ck, 48)
//   readout (48 queries, cv)  += weights (cells, 48 queries), transposed x values (cells, cv)
//
// Both products use the same tile: it reads its left factor one number at a time, with any strides.
#pragma once

#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include "attention.h"

namespace rmnet {

template <class Simd, class Element>
struct Attention {
  using Vector = typename Simd::Vector;

  static constexpr int kLanes = Simd::kLanes;
  static constexpr int kTileRows = Simd::kTileRows;
  static constexpr int kTileColumns = 2 * kLanes;
  // Number of queries at a time: many, so that a panel of values is used often; whole tiles in both
  // products.
  static constexpr int kQueries = Simd::kQueries;
  // Number of memory cells at a time: their keys, values and scores fit the second-level cache.
  static constexpr int kCells = 240;
  static constexpr float kNone = -__builtin_huge_valf();
  static_assert(kQueries % kTileColumns == 0 && kQueries % kTileRows == 0);
  static_assert(kCells % kTileRows == 0);

  static int64_t round_up(int64_t size, int64_t multiple) {
    return (size + multiple - 1) / multiple * multiple;
  }

  // The scratch memory of a thread: these arrays in this order, aligned to vectors.
  struct Scratch {
    float* keys;     // (kCells, ck)
    float* values;   // (cv / kTileColumns, kCells, kTileColumns)
    float* scores;   // (kCells, kQueries)
    float* rescale;  // (kQueries,)

    Scratch(float* start, Widths widths)
        : keys(start),
          values(keys + kCells * round_up(widths.key, 16)),
          scores(values + kCells * round_up(widths.value, kTileColumns)),
          rescale(scores + kCells * kQueries) {}
    static int64_t size(Widths widths) {
      return kCells * (round_up(widths.key, 16) + round_up(widths.value, kTileColumns) + kQueries) +
             kQueries;
    }
  };

  static int64_t scratch_size(Widths widths) { return Scratch::size(widths); }

  // c (kTileRows, kTileColumns) = factor of the row * c + a (kTileRows, depth) x b (depth, columns)
  template <bool kAccumulate>
  static void multiply_tile(int64_t depth, const float* a, int64_t a_row, int64_t a_depth,
                            const float* b, int64_t b_row, float* c, int64_t c_row,
                            const float* factor) {
    Vector sum[kTileRows][2];
    for (int i = 0; i < kTileRows; ++i) sum[i][0] = sum[i][1] = Simd::broadcast(0.0f);
    for (int64_t k = 0; k < depth; ++k) {
      const Vector b0 = Simd::load(b + k * b_row);
      const Vector b1 = Simd::load(b + k * b_row + kLanes);
      const float* column = a + k * a_depth;
#pragma GCC unroll 16
      for (int i = 0; i < kTileRows; ++i) {
        const Vector left = Simd::broadcast(column[i * a_row]);
        sum[i][0] = Simd::multiply_add(left, b0, sum[i][0]);
        sum[i][1] = Simd::multiply_add(left, b1, sum[i][1]);
      }
    }
#pragma GCC unroll 16
    for (int i = 0; i < kTileRows; ++i) {
      float* row = c + i * c_row;
      if (kAccumulate) {
        const Vector by = Simd::broadcast(factor[i]);
        sum[i][0] = Simd::multiply_add(by, Simd::load(row), sum[i][0]);
        sum[i][1] = Simd::multiply_add(by, Simd::load(row + kLanes), sum[i][1]);
      }
      Simd::store(row, sum[i][0]);
      Simd::store(row + kLanes, sum[i][1]);
    }
  }

  // Loads a vector from a row with `count` elements left; the missing ones are zero.
  static Vector load_some(const Element* p, int64_t count) {
    if (count >= kLanes) return Simd::load(p);
    float some[kLanes] = {};
    for (int64_t i = 0; i < count; ++i) some[i] = static_cast<float>(p[i]);
    return Simd::load(some);
  }

  // Packs every kQueries queries as (ck, kQueries).
  static void pack_queries(const void* query_key, const int32_t* cells, int64_t num_cells,
                           int64_t padded_rows, int64_t key_width, float scale, float* packed) {
    const auto* keys = static_cast<const Element*>(query_key);
    for (int64_t first = 0; first < padded_rows; first += kQueries) {
      float* chunk = packed + first * key_width;
      for (int64_t i = 0; i < kQueries; ++i) {
        const int64_t row = first + i;
        const Element* key = row < num_cells ? keys + cells[row] * key_width : nullptr;
        for (int64_t c = 0; c < key_width; ++c) {
          chunk[c * kQueries + i] = key ? static_cast<float>(key[c]) * scale : 0.0f;
        }
      }
    }
  }

  static void pack_keys(const Segment& segment, int64_t first, int64_t count, int64_t key_width,
                        float* packed) {
    const auto* keys = static_cast<const Element*>(segment.keys);
    const int64_t whole = key_width / kLanes * kLanes;
    for (int64_t i = 0; i < count; ++i) {
      const Element* key = keys + segment.cells[first + i] * key_width;
      float* row = packed + i * key_width;
      for (int64_t c = 0; c < whole; c += kLanes) Simd::store(row + c, Simd::load(key + c));
      for (int64_t c = whole; c < key_width; ++c) row[c] = static_cast<float>(key[c]);
    }
    // Tiles are computed whole; rows past the last cell may hold any finite numbers.
    float* end = packed + count * key_width;
    for (int64_t i = 0; i < (round_up(count, kTileRows) - count) * key_width; ++i) end[i] = 0.0f;
  }

  static void pack_values(const Segment& segment, int64_t first, int64_t count, int64_t value_width,
                          float* packed) {
    const auto* values = static_cast<const Element*>(segment.values);
    for (int64_t i = 0; i < count; ++i) {
      const Element* value = values + segment.cells[first + i] * value_width;
      float* row = packed + i * kTileColumns;
      for (int64_t d = 0; d < value_width; d += kTileColumns, row += count * kTileColumns) {
        Simd::store(row, load_some(value + d, value_width - d));
        Simd::store(row + kLanes, load_some(value + d + kLanes, value_width - d - kLanes));
      }
    }
  }

  // Turns the scores of `count` cells into weights; `rescale` gets the factors on earlier sums.
  static void update_softmax(int64_t count, int64_t vectors, float* scores, float* maximum,
                             float* total, float* rescale) {
    for (int64_t v = 0; v < vectors; ++v) {
      float* column = scores + v * kLanes;
      const Vector before = Simd::load(maximum + v * kLanes);
      Vector largest = before;
      for (int64_t i = 0; i < count; ++i) {
        largest = Simd::max(largest, Simd::load(column + i * kQueries));
      }
      Vector sum = Simd::broadcast(0.0f);
      for (int64_t i = 0; i < count; ++i) {
        float* score = column + i * kQueries;
        const Vector weight = Simd::exp(Simd::subtract(Simd::load(score), largest));
        Simd::store(score, weight);
        sum = Simd::add(sum, weight);
      }
      const Vector by = Simd::exp(Simd::subtract(before, largest));
      const Vector old = Simd::load(total + v * kLanes);
      Simd::store(total + v * kLanes, Simd::multiply_add(by, old, sum));
      Simd::store(maximum + v * kLanes, largest);
      Simd::store(rescale + v * kLanes, by);
    }
  }

  static void attend(const Queries& queries, const Segment& segment, Widths widths,
                     const Partial& partial, float* memory) {
    const Scratch scratch(memory, widths);
    const int64_t padded_width = round_up(widths.value, kTileColumns);
    const int64_t padded_rows = round_up(queries.rows, kQueries);
    // Zeroed cells count from the start: a maximum of 0, and e^0 for each.
    for (int64_t i = 0; i < padded_rows; ++i) {
      partial.maximum[i] = segment.zeroed_cells > 0 ? 0.0f : kNone;
      partial.total[i] = segment.zeroed_cells;
    }
    for (int64_t cell = 0; cell < segment.num_cells; cell += kCells) {
      const int64_t left = segment.num_cells - cell;
      const int64_t count = left < kCells ? left : kCells;
      pack_keys(segment, cell, count, widths.key, scratch.keys);
      pack_values(segment, cell, count, widths.value, scratch.values);
      for (int64_t first = 0; first < queries.rows; first += kQueries) {
        const int64_t rows_left = queries.rows - first;
        const int64_t rows = rows_left < kQueries ? rows_left : kQueries;
        // Row tiles of the second product may need weights past the last column tile of the first.
        const int64_t columns = round_up(round_up(rows, kTileRows), kTileColumns);
        score(count, columns, scratch.keys, queries.packed + first * widths.key, widths.key,
              scratch.scores);
        update_softmax(count, columns / kLanes, scratch.scores, partial.maximum + first,
                       partial.total + first, scratch.rescale);
        float* readout = partial.readout + first * padded_width;
        if (cell == 0) {
          add_values<false>(count, rows, padded_width, scratch, readout);
        } else {
          add_values<true>(count, rows, padded_width, scratch, readout);
        }
      }
    }
  }

  static void score(int64_t count, int64_t columns, const float* keys, const float* queries,
                    int64_t key_width, float* scores) {
    for (int64_t i = 0; i < count; i += kTileRows) {
      for (int64_t q = 0; q < columns; q += kTileColumns) {
        multiply_tile<false>(key_width, keys + i * key_width, key_width, 1, queries + q, kQueries,
                             scores + i * kQueries + q, kQueries, nullptr);
      }
    }
  }

  template <bool kAccumulate>
  static void add_values(int64_t count, int64_t rows, int64_t padded_width, const Scratch& scratch,
                         float* readout) {
    for (int64_t d = 0; d < padded_width; d += kTileColumns) {
      for (int64_t i = 0; i < rows; i += kTileRows) {
        multiply_tile<kAccumulate>(
            count, scratch.scores + i, 1, kQueries, scratch.values + d * count, kTileColumns,
            readout + i * padded_width + d, padded_width, scratch.rescale + i);
      }
    }
  }

  static float exp_of_one(float x) {
    float lanes[kLanes];
    Simd::store(lanes, Simd::exp(Simd::broadcast(x)));
    return lanes[0];
  }

  // Adds the other partial sums to the first, in place, then writes the row.
  static void merge(const Partial* partials, int64_t count, int64_t row, int64_t value_width,
                    void* destination) {
    const int64_t padded_width = round_up(value_width, kTileColumns);
    float* sum = partials[0].readout + row * padded_width;
    float maximum = partials[0].maximum[row];
    float total = partials[0].total[row];
    for (int64_t p = 1; p < count; ++p) {
      const float other = partials[p].maximum[row];
      const float larger = other > maximum ? other : maximum;
      const float keep = exp_of_one(maximum - larger), by = exp_of_one(other - larger);
      const float* part = partials[p].readout + row * padded_width;
      for (int64_t d = 0; d < padded_width; d += kLanes) {
        const Vector kept = Simd::multiply(Simd::broadcast(keep), Simd::load(sum + d));
        Simd::store(sum + d, Simd::multiply_add(Simd::broadcast(by), Simd::load(part + d), kept));
      }
      total = keep * total + by * partials[p].total[row];
      maximum = larger;
    }
    const Vector normalise = Simd::broadcast(1.0f / total);
    auto* readout = static_cast<Element*>(destination);
    for (int64_t d = 0; d < value_width; d += kLanes) {
      store_some(readout + d, Simd::multiply(normalise, Simd::load(sum + d)), value_width - d);
    }
  }

  static void store_some(Element* p, Vector v, int64_t count) {
    if (count >= kLanes) {
      Simd::store(p, v);
      return;
    }
    float some[kLanes];
    Simd::store(some, v);
    for (int64_t i = 0; i < count; ++i) p[i] = static_cast<Element>(some[i]);
  }

  static constexpr AttentionKernels kernels() {
    return {kQueries, kTileColumns, kCells, scratch_size, pack_queries, attend, merge};
  }
};

template <class Simd>
constexpr AttentionTable attention_table() {
  return {Attention<Simd, float>::kernels(), Attention<Simd, torch::headeronly::Half>::kernels(),
          Attention<Simd, torch::headeronly::BFloat16>::kernels()};
}

}  // namespace rmnet
