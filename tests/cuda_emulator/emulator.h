// The CUDA names that kernels use, for g++ on a CPU. Compile with `-include emulator.h`.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cmath>

#include "launch.h"

#undef __launch_bounds__  // it stands where g++ accepts no attribute
#define __launch_bounds__(...)

using std::max;
using std::min;

template <typename T>
T __ldg(const T* pointer) {
  return *pointer;
}

inline void __syncthreads(emulator::Place place = emulator::here()) {
  emulator::Block::current().synchronize_block(place);
}

inline void __syncwarp(unsigned lanes = 0xffffffff, emulator::Place place = emulator::here()) {
  emulator::Block::current().synchronize_warp(lanes, place);
}

namespace emulator {

// PTX ISA, shfl.sync: each lane gets the value of its source lane; of a lane with no part in the
// call that value is undefined, hence an error.
template <typename T>
T shuffle(const char* name, unsigned lanes, T value, int source, Place place) {
  struct Operands {
    T given, got;
    int source;
  } operands{value, value, source};
  Block::current().gather_lanes({name, place, lanes, &operands}, [=](void** all) {
    for (unsigned lane = 0; lane < kWarpSize; ++lane) {
      auto* mine = static_cast<Operands*>(all[lane]);
      if (mine == nullptr) continue;
      if (all[mine->source] == nullptr) {
        fail("%s reads lane %d, which has no part in it", name, mine->source);
      }
      mine->got = static_cast<Operands*>(all[mine->source])->given;
    }
  });
  return operands.got;
}

}  // namespace emulator

// `width` parts a warp into segments. A source past its end (xor) or before it (up): own value.

template <typename T>
T __shfl_sync(unsigned lanes, T value, int source, int width = 32,
              emulator::Place place = emulator::here()) {
  const int lane = emulator::Block::current().lane(), segment = lane / width * width;
  return emulator::shuffle("__shfl_sync", lanes, value, segment + (source & (width - 1)), place);
}

template <typename T>
T __shfl_xor_sync(unsigned lanes, T value, int lane_mask, int width = 32,
                  emulator::Place place = emulator::here()) {
  const int lane = emulator::Block::current().lane(), segment = lane / width * width;
  const int source = lane ^ lane_mask;
  return emulator::shuffle("__shfl_xor_sync", lanes, value,
                           source < segment + width ? source : lane, place);
}

template <typename T>
T __shfl_up_sync(unsigned lanes, T value, unsigned delta, int width = 32,
                 emulator::Place place = emulator::here()) {
  const int lane = emulator::Block::current().lane(), segment = lane / width * width;
  const int source = lane - static_cast<int>(delta);
  return emulator::shuffle("__shfl_up_sync", lanes, value, source >= segment ? source : lane,
                           place);
}
