// The launch of a kernel.
#pragma once

#include <algorithm>
#include <memory>
#include <random>
#include <vector>

#include "block.h"

namespace emulator {

constexpr unsigned kMaxThreads = 1024;
constexpr std::size_t kMaxSharedBytes = 227 * 1024;  // sm_90's; the most a block can opt in to

// kernel<<<grid, block, shared_bytes>>>(arguments...), the blocks one after another in an order
// that the seed decides.
template <typename... Parameters, typename... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes,
            std::uint64_t seed, const Arguments&... arguments) {
  if (block.x * block.y * block.z > kMaxThreads || shared_bytes > kMaxSharedBytes ||
      grid.y > 65535 || grid.z > 65535 ||
      std::uint64_t{grid.x} * grid.y * grid.z * block.x * block.y * block.z == 0) {
    fail("launch of a %u x %u x %u grid of %u x %u x %u threads with %zu shared bytes", grid.x,
         grid.y, grid.z, block.x, block.y, block.z, shared_bytes);
  }
  auto call = [&] { kernel(arguments...); };
  std::mt19937_64 random(seed);
  std::vector<unsigned> order(std::size_t{grid.x} * grid.y * grid.z);
  for (unsigned i = 0; i < order.size(); ++i) {
    order[i] = i;
  }
  std::shuffle(order.begin(), order.end(), random);
  gridDim = grid;
  blockDim = block;
  Block::launch_order.release();
  for (unsigned i : order) {
    Unobserved unobserved;
#ifdef __SANITIZE_THREAD__
    // A block's threads are not those of the one before, and have no memory in common with them.
    Stacks stacks(block.x * block.y * block.z);
#else
    static Stacks stacks(kMaxThreads);
#endif
    blockIdx = {i % grid.x, i / grid.x % grid.y, i / grid.x / grid.y};
    // On the heap, so that ThreadSanitizer does not take two blocks' barriers for one.
    std::make_unique<Block>(block, shared_bytes, random(), stacks)
        ->run([](void* c) { (*static_cast<decltype(call)*>(c))(); }, &call);
  }
  Block::end_order.acquire();
}

}  // namespace emulator
