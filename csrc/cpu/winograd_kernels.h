// The functions of winograd.h for any instruction set. Each of winograd_*.cpp includes this once,
// below its `#pragma GCC target`. The linker must not share any of this code between those files,
// so everything is a template of the instruction set, and the standard library is not used.
//
// For a block of tiles at a time, all patches are transformed, then multiplied by the filters, then
// transformed into outputs. Lanes of a vector are channels in each step, so that nothing is
// transposed or summed across lanes.
#pragma once

#include "winograd.h"
#include "winograd_filters.h"

namespace rmnet {

template <class Simd>
struct Winograd {
  using Vector = typename Simd::Vector;

  static constexpr int kLanes = Simd::kLanes;
  static constexpr int kRows = Simd::kTileRows;  // of the tile of registers in the product
  static constexpr int kColumns = 2 * kLanes;
  static_assert(kPanel % kColumns == 0);
  static constexpr int64_t line(int64_t size) { return (size + 15) / 16 * 16; }

  struct Scratch {
    // Padded by one cache line: rows of 2^n floats would map to the same cache sets.
    int64_t patch_stride, sum_stride;
    float* patches;  // (36, tiles, patch_stride): B' d B
    float* sums;     // (36, tiles, sum_stride): summed over input channels
    float* zeros;    // (channels,): a pixel outside the image

    Scratch(float* start, const Convolution& convolution, int64_t tiles)
        : patch_stride(line(convolution.channels) + 16),
          sum_stride(convolution.panels() * kPanel + 16),
          patches(start),
          sums(patches + kElements * tiles * patch_stride),
          zeros(sums + kElements * tiles * sum_stride) {}

    static int64_t size(const Convolution& convolution, int64_t tiles) {
      const Scratch from_zero(nullptr, convolution, tiles);
      const int64_t row = from_zero.patch_stride + from_zero.sum_stride;
      return kElements * tiles * row + line(convolution.channels);
    }
  };

  // The upper left pixel of a tile.
  struct Place {
    int64_t image, y, x;

    Place(const Convolution& convolution, int64_t tile) {
      const int64_t columns = convolution.tile_columns(), rows = convolution.tile_rows();
      x = tile % columns * kTile;
      y = tile / columns % rows * kTile;
      image = tile / columns / rows;
    }
  };

  static void convolve(const Convolution& convolution, int64_t first, int64_t last, float* memory) {
    const int64_t tiles = last - first;
    const Scratch scratch(memory, convolution, tiles);
    for (int64_t c = 0; c < convolution.channels; ++c) scratch.zeros[c] = 0.0f;
    for (int64_t i = 0; i < tiles; ++i) {
      transform_patch(convolution, Place(convolution, first + i), tiles, scratch,
                      scratch.patches + i * scratch.patch_stride);
    }
    for (int64_t e = 0; e < kElements; ++e) {
      const Factors factors{convolution.channels, scratch.patch_stride, scratch.sum_stride};
      for (int64_t panel = 0; panel < convolution.panels(); ++panel) {
        multiply(tiles, factors, scratch.patches + e * tiles * scratch.patch_stride,
                 convolution.transformed + (panel * kElements + e) * convolution.filter_stride(),
                 scratch.sums + e * tiles * scratch.sum_stride + panel * kPanel,
                 convolution.out_channels - panel * kPanel);
      }
    }
    for (int64_t i = 0; i < tiles; ++i) {
      write_tile(convolution, Place(convolution, first + i), scratch.sums + i * scratch.sum_stride,
                 tiles * scratch.sum_stride);
    }
  }

  // --- Input -----------------------------------------------------------------------------------

  // B' d for one row or column d.
  static void evaluate(const Vector (&d)[kPatch], Vector (&v)[kPatch]) {
    constexpr double a = kPointA, b = kPointB;
    const Vector minus_aa = Simd::broadcast(-a * a), minus_bb = Simd::broadcast(-b * b);
    const Vector even_a = Simd::multiply_add(minus_bb, d[2], d[4]);
    const Vector even_b = Simd::multiply_add(minus_aa, d[2], d[4]);
    const Vector odd_a = Simd::multiply_add(minus_bb, d[1], d[3]);
    const Vector odd_b = Simd::multiply_add(minus_aa, d[1], d[3]);
    const Vector middle = Simd::broadcast(-(a * a + b * b)), end = Simd::broadcast(a * a * b * b);
    v[0] = Simd::multiply_add(end, d[0], Simd::multiply_add(middle, d[2], d[4]));
    v[1] = Simd::multiply_add(Simd::broadcast(a), odd_a, even_a);
    v[2] = Simd::multiply_add(Simd::broadcast(-a), odd_a, even_a);
    v[3] = Simd::multiply_add(Simd::broadcast(b), odd_b, even_b);
    v[4] = Simd::multiply_add(Simd::broadcast(-b), odd_b, even_b);
    v[5] = Simd::multiply_add(end, d[1], Simd::multiply_add(middle, d[3], d[5]));
  }

  static void transform_patch(const Convolution& convolution, const Place& place, int64_t tiles,
                              const Scratch& scratch, float* patch) {
    const float* pixels[kPatch][kPatch];
    for (int64_t i = 0; i < kPatch; ++i) {
      for (int64_t j = 0; j < kPatch; ++j) {
        const int64_t y = place.y + i - 1, x = place.x + j - 1;
        const bool inside = y >= 0 && y < convolution.height && x >= 0 && x < convolution.width;
        pixels[i][j] = inside ? convolution.input.at(place.image, y, x) : scratch.zeros;
      }
    }
    const int64_t step = tiles * scratch.patch_stride;
    if (convolution.relu_input) {
      transform_channels<true>(pixels, convolution.channels, patch, step);
    } else {
      transform_channels<false>(pixels, convolution.channels, patch, step);
    }
  }

  template <bool kRelu>
  static void transform_channels(const float* (&pixels)[kPatch][kPatch], int64_t channels,
                                 float* patch, int64_t step) {
    for (int64_t c = 0; c < channels; c += kLanes) {
      Vector rows[kPatch][kPatch];
      for (int j = 0; j < kPatch; ++j) {
        Vector d[kPatch], v[kPatch];
        for (int i = 0; i < kPatch; ++i) {
          d[i] = load_some(pixels[i][j] + c, channels - c);
          if (kRelu) d[i] = relu(d[i]);
        }
        evaluate(d, v);
        for (int i = 0; i < kPatch; ++i) rows[i][j] = v[i];
      }
      for (int i = 0; i < kPatch; ++i) {
        Vector v[kPatch];
        evaluate(rows[i], v);
        for (int j = 0; j < kPatch; ++j) Simd::store(patch + (i * kPatch + j) * step + c, v[j]);
      }
    }
  }

  // --- Product ---------------------------------------------------------------------------------

  struct Factors {
    int64_t depth, patch_stride, sum_stride;
  };

  // sums (tiles, kPanel) = patches (tiles, depth) x filter (depth, kPanel), without the vectors
  // that lie wholly past the last output channel.
  static void multiply(int64_t tiles, const Factors& factors, const float* patches,
                       const float* filter, float* sums, int64_t channels_left) {
    const int64_t columns = channels_left < kPanel ? channels_left : kPanel;
    const int64_t parts = (tiles + kRows - 1) / kRows;
    for (int64_t part = 0; part < parts; ++part) {  // sizes differ by at most one row
      const int64_t row = part * tiles / parts, rows = (part + 1) * tiles / parts - row;
      for (int64_t column = 0; column < columns; column += kColumns) {
        const auto rows_of =
            columns - column > kLanes ? multiply_rows<kRows, 2> : multiply_rows<kRows, 1>;
        rows_of(rows, factors, patches + row * factors.patch_stride, filter + column,
                sums + row * factors.sum_stride + column);
      }
    }
  }

  template <int kCount, int kVectors>
  static void multiply_rows(int64_t rows, const Factors& factors, const float* patches,
                            const float* filter, float* sums) {
    if (rows == kCount) {
      multiply_tile<kCount, kVectors>(factors, patches, filter, sums);
    } else if constexpr (kCount > 1) {
      multiply_rows<kCount - 1, kVectors>(rows, factors, patches, filter, sums);
    }
  }

  // sums (kCount, kVectors) = patches (kCount, depth) x filter (depth, kVectors); kVectors counts
  // vectors.
  template <int kCount, int kVectors>
  static void multiply_tile(const Factors& factors, const float* patches, const float* filter,
                            float* sums) {
    Vector sum[kCount][kVectors];
#pragma GCC unroll 16
    for (int i = 0; i < kCount; ++i) {
#pragma GCC unroll 2
      for (Vector& v : sum[i]) v = Simd::broadcast(0.0f);
    }
    for (int64_t c = 0; c < factors.depth; ++c) {
      Vector right[kVectors];
#pragma GCC unroll 2
      for (int j = 0; j < kVectors; ++j) right[j] = Simd::load(filter + c * kPanel + j * kLanes);
#pragma GCC unroll 16
      for (int i = 0; i < kCount; ++i) {
        const Vector left = Simd::broadcast(patches[i * factors.patch_stride + c]);
#pragma GCC unroll 2
        for (int j = 0; j < kVectors; ++j) {
          sum[i][j] = Simd::multiply_add(left, right[j], sum[i][j]);
        }
      }
    }
#pragma GCC unroll 16
    for (int i = 0; i < kCount; ++i) {
#pragma GCC unroll 2
      for (int j = 0; j < kVectors; ++j) {
        Simd::store(sums + i * factors.sum_stride + j * kLanes, sum[i][j]);
      }
    }
  }

  // --- Output ----------------------------------------------------------------------------------

  // A' m for one row or column m.
  static void interpolate(const Vector (&m)[kPatch], Vector (&y)[kTile]) {
    constexpr double a = kPointA, b = kPointB;
    const Vector even_a = Simd::add(m[1], m[2]), odd_a = Simd::subtract(m[1], m[2]);
    const Vector even_b = Simd::add(m[3], m[4]), odd_b = Simd::subtract(m[3], m[4]);
    y[0] = Simd::add(m[0], Simd::add(even_a, even_b));
    y[1] = combine(a, odd_a, b, odd_b);
    y[2] = combine(a * a, even_a, b * b, even_b);
    y[3] = Simd::add(m[5], combine(a * a * a, odd_a, b * b * b, odd_b));
  }

  static Vector combine(float p, Vector u, float q, Vector v) {
    return Simd::multiply_add(Simd::broadcast(p), u, Simd::multiply(Simd::broadcast(q), v));
  }

  static void write_tile(const Convolution& convolution, const Place& place, const float* sums,
                         int64_t step) {
    const int64_t rows_left = convolution.height - place.y;
    const int64_t columns_left = convolution.width - place.x;
    const int64_t rows = rows_left < kTile ? rows_left : kTile;
    const int64_t columns = columns_left < kTile ? columns_left : kTile;
    for (int64_t k = 0; k < convolution.out_channels; k += kLanes) {
      const int64_t left = convolution.out_channels - k;
      const Vector bias =
          convolution.bias ? load_some(convolution.bias + k, left) : Simd::broadcast(0.0f);
      Vector tile[kTile][kPatch];
      for (int j = 0; j < kPatch; ++j) {
        Vector m[kPatch], y[kTile];
        for (int i = 0; i < kPatch; ++i) m[i] = Simd::load(sums + (i * kPatch + j) * step + k);
        interpolate(m, y);
        for (int i = 0; i < kTile; ++i) tile[i][j] = y[i];
      }
      for (int64_t i = 0; i < rows; ++i) {
        Vector y[kTile];
        interpolate(tile[i], y);
        for (int64_t j = 0; j < columns; ++j) {
          const int64_t row = place.y + i, column = place.x + j;
          Vector value = Simd::add(y[j], bias);
          if (convolution.residual.start) {
            const float* residual = convolution.residual.at(place.image, row, column);
            value = Simd::add(value, load_some(residual + k, left));
          }
          if (convolution.relu_output) value = relu(value);
          store_some(convolution.output.at(place.image, row, column) + k, value, left);
        }
      }
    }
  }

  // --- Vectors ---------------------------------------------------------------------------------

  // NaN stays NaN: max returns its second operand if either is NaN.
  static Vector relu(Vector v) { return Simd::max(Simd::broadcast(0.0f), v); }

  // Loads a vector with only `count` numbers left in memory; the missing ones are zero.
  static Vector load_some(const float* p, int64_t count) {
    if (count >= kLanes) return Simd::load(p);
    float some[kLanes] = {};
    for (int64_t i = 0; i < count; ++i) some[i] = p[i];
    return Simd::load(some);
  }

  static void store_some(float* p, Vector v, int64_t count) {
    if (count >= kLanes) {
      Simd::store(p, v);
      return;
    }
    float some[kLanes];
    Simd::store(some, v);
    for (int64_t i = 0; i < count; ++i) p[i] = some[i];
  }

  static int64_t scratch_size(const Convolution& convolution, int64_t tiles) {
    return Scratch::size(convolution, tiles);
  }
};

template <class Simd>
constexpr WinogradKernels winograd_kernels() {
  return {WinogradFilters<Simd>::transform, Winograd<Simd>::scratch_size, Winograd<Simd>::convolve};
}

}  // namespace rmnet
