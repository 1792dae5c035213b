// The interface of csrc/cuda/ptx.cuh, from the definitions of the PTX ISA.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "emulator.h"

namespace rmnet::cuda {

inline unsigned char* dynamic_shared() { return emulator::Block::current().shared.data(); }

}  // namespace rmnet::cuda

namespace rmnet::ptx {

inline std::uint32_t shared_address(const void* pointer) {
  return emulator::Block::current().shared.address_of(pointer);
}

inline void copy_async_16(std::uint32_t shared_destination, const void* global_source, bool valid) {
  auto& block = emulator::Block::current();
  block.thread().copies.start(block.shared.row(shared_destination, "cp.async"), global_source,
                              valid);
}

inline void commit_copies() { emulator::Block::current().thread().copies.commit(); }

template <int kPending>
void wait_for_copies() {
  emulator::Block::current().thread().copies.wait(kPending);
}

namespace emulated {

struct Matrices {
  std::uint32_t fragment[4];
  std::uint16_t row[8];
};

// PTX ISA, "Warp-level matrix load instruction: ldmatrix": lane 8 m + r gives the address of row r
// of matrix m, and lane l gets of each matrix the elements 2 (l % 4) and 2 (l % 4) + 1 of row l / 4;
// with .trans, of column l / 4.
template <bool kTransposed>
void load_matrices(std::uint32_t (&fragment)[4], std::uint32_t address, emulator::Place place) {
  auto& block = emulator::Block::current();
  Matrices mine;
  const unsigned char* row = block.shared.row(address, "ldmatrix");
  emulator::observe_read(row, sizeof(mine.row));
  std::memcpy(mine.row, row, sizeof(mine.row));
  block.gather_lanes({kTransposed ? "ldmatrix.trans" : "ldmatrix", place, 0xffffffff, &mine},
                     [](void** lanes) {
                       for (int lane = 0; lane < 32; ++lane) {
                         for (int matrix = 0; matrix < 4; ++matrix) {
                           std::uint16_t pair[2];
                           for (int i = 0; i < 2; ++i) {
                             int row = lane / 4, column = 2 * (lane % 4) + i;
                             if (kTransposed) {
                               std::swap(row, column);
                             }
                             pair[i] = static_cast<Matrices*>(lanes[8 * matrix + row])->row[column];
                           }
                           std::memcpy(&static_cast<Matrices*>(lanes[lane])->fragment[matrix], pair,
                                       sizeof(pair));  // the lower element in the lower half
                         }
                       }
                     });
  std::memcpy(fragment, mine.fragment, sizeof(fragment));
}

// The value of 16 bits.
template <typename Half>
float value_of(std::uint16_t bits);

template <>
inline float value_of<__nv_bfloat16>(std::uint16_t bits) {
  const std::uint32_t wide = static_cast<std::uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &wide, sizeof(value));
  return value;
}

template <>
inline float value_of<__half>(std::uint16_t bits) {
  static const std::vector<float> values = [] {
    std::vector<float> table(1 << 16);
    for (unsigned i = 0; i < table.size(); ++i) {
      table[i] = __half2float(__half(__half_raw{static_cast<std::uint16_t>(i)}));
    }
    return table;
  }();
  return values[bits];
}

struct Operands {
  float* c;
  std::uint32_t a[4], b[2];
};

// PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type". With group = lane / 4 and
// place = lane % 4, element i of a lane's fragment is
//   a_i, i < 8: row group, + 8 for i in {2, 3, 6, 7}; column 2 place + i % 2, + 8 for i >= 4
//   b_i, i < 4: row 2 place + i % 2, + 8 for i >= 2; column group
//   c_i, i < 4: row group, + 8 for i >= 2; column 2 place + i % 2
template <typename Half>
void multiply_add(void** lanes) {
  float a[16][16], b[16][8], c[16][8];
  const auto element = [](const std::uint32_t* registers, int i) {
    return value_of<Half>(static_cast<std::uint16_t>(registers[i / 2] >> (16 * (i % 2))));
  };
  for (int lane = 0; lane < 32; ++lane) {
    const auto& operands = *static_cast<Operands*>(lanes[lane]);
    const int group = lane / 4, place = lane % 4;
    for (int i = 0; i < 8; ++i) {
      a[group + 8 * (i / 2 % 2)][2 * place + i % 2 + 8 * (i / 4)] = element(operands.a, i);
    }
    for (int i = 0; i < 4; ++i) {
      b[2 * place + i % 2 + 8 * (i / 2)][group] = element(operands.b, i);
    }
    for (int i = 0; i < 4; ++i) {
      c[group + 8 * (i / 2)][2 * place + i % 2] = operands.c[i];
    }
  }
  for (int row = 0; row < 16; ++row) {
    for (int k = 0; k < 16; ++k) {
      for (int column = 0; column < 8; ++column) {
        c[row][column] += a[row][k] * b[k][column];
      }
    }
  }
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 4; ++i) {
      static_cast<Operands*>(lanes[lane])->c[i] = c[lane / 4 + 8 * (i / 2)][2 * (lane % 4) + i % 2];
    }
  }
}

}  // namespace emulated

inline void load_matrices(std::uint32_t (&fragment)[4], std::uint32_t shared_row_address,
                          emulator::Place place = emulator::here()) {
  emulated::load_matrices<false>(fragment, shared_row_address, place);
}

inline void load_matrices_transposed(std::uint32_t (&fragment)[4], std::uint32_t shared_row_address,
                                     emulator::Place place = emulator::here()) {
  emulated::load_matrices<true>(fragment, shared_row_address, place);
}

// c += a b. The order in which the 16 products are added is the device's secret.
template <typename Half>
void multiply_add_16x8x16(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                          std::uint32_t b1, emulator::Place place = emulator::here()) {
  static_assert(std::is_same_v<Half, __half> || std::is_same_v<Half, __nv_bfloat16>);
  emulated::Operands mine{c, {a[0], a[1], a[2], a[3]}, {b0, b1}};
  emulator::Block::current().gather_lanes({"mma", place, 0xffffffff, &mine},
                                          emulated::multiply_add<Half>);
}

}  // namespace rmnet::ptx
