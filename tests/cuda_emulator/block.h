// One block of threads: who runs next, and where threads wait for each other.
#pragma once

#include <vector_types.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "fibers.h"
#include "memory.h"

inline uint3 threadIdx, blockIdx;
inline dim3 blockDim, gridDim;

namespace emulator {

constexpr unsigned kWarpSize = 32;

// Where in the source a thread waits.
struct Place {
  const char* file;
  int line;

  bool operator!=(Place other) const {
    return line != other.line || std::strcmp(file, other.file) != 0;
  }
};
inline constexpr Place here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  return {file, line};
}

// What a thread waits in. `lanes` is of warp-wide calls; `operands` the caller's, of any type.
struct Call {
  const char* name;
  Place place;
  unsigned lanes;
  void* operands;
};

struct Thread {
  std::unique_ptr<Fiber> fiber;
  uint3 index;
  bool waits = false;
  bool finished = false;
  Call call{};                                     // while it waits
  unsigned block_barriers = 0, warp_barriers = 0;  // that it has come to
  AsynchronousCopies copies;
};

class Block {
 public:
  Block(dim3 size, std::size_t shared_bytes, std::uint64_t seed, Stacks& stacks)
      : shared(shared_bytes), threads_(size.x * size.y * size.z), random_(seed) {
    // From "warps advance together" to "a warp runs until it has to wait": errors that one order
    // hides, another shows.
    const unsigned choices[] = {0, 7, 1000};
    steadiness_ = choices[random_() % 3];
    runnable_.resize((threads_.size() + kWarpSize - 1) / kWarpSize);
    warp_order_.resize(runnable_.size());
    for (unsigned i = 0; i < threads_.size(); ++i) {
      threads_[i].index = {i % size.x, i / size.x % size.y, i / size.x / size.y};
      threads_[i].fiber = std::make_unique<Fiber>(stacks.at(i), Stacks::kSize, &enter_thread);
      runnable_[i / kWarpSize].push_back(i);
    }
  }

  static Block& current() { return *current_; }
  Thread& thread() { return threads_[running_]; }
  unsigned lane() const { return running_ % kWarpSize; }

  // Runs all threads to their end.
  void run(void (*kernel)(void*), void* arguments) {
    current_ = this;
    kernel_ = kernel;
    arguments_ = arguments;
    for (unsigned warp = 0; pick_warp(warp);) {
      auto& lanes = runnable_[warp];
      std::swap(lanes[random_() % lanes.size()], lanes.back());
      running_ = lanes.back();
      lanes.pop_back();
      threadIdx = thread().index;
      thread().fiber->enter();
    }
    if (finished_ != threads_.size()) fail("threads wait forever:%s", describe().c_str());
    shared.check_guards();
  }

  // __syncthreads: all threads that have not ended, at one place of the source.
  void synchronize_block(Place place) {
    Order& order = block_order_[thread().block_barriers++ % 2];
    order.release();
    {
      Unobserved unobserved;
      wait_in({"__syncthreads", place, 0, nullptr});
      ++at_barrier_;
      open_barrier();
      thread().fiber->leave();
    }
    order.acquire();
  }

  // A call that all of `call.lanes` take part in; the last to come does the work for all, given
  // the operands of each lane (null for lanes that have no part in it).
  template <typename Work>
  void gather_lanes(Call call, Work work) {
    Unobserved unobserved;
    const unsigned first = running_ - lane();
    if (!(call.lanes >> lane() & 1)) {
      fail("thread %u calls %s at %s:%d for lanes %08x, but is none of them", running_, call.name,
           call.place.file, call.place.line, call.lanes);
    }
    wait_in(call);
    void* operands[kWarpSize] = {};
    for (unsigned i = 0; i < kWarpSize; ++i) {
      if (!(call.lanes >> i & 1)) continue;
      if (first + i >= threads_.size()) fail("%s names lane %u, which is not there", call.name, i);
      const Thread& other = threads_[first + i];
      if (!other.waits || other.call.lanes == 0) {
        thread().fiber->leave();
        return;
      }
      // The same instruction: PTX ISA, ".aligned", asks for it; the shuffles keep to it here too.
      if (other.call.lanes != call.lanes || other.call.place != call.place) {
        fail("lanes of a warp meet in different calls:%s", describe().c_str());
      }
      operands[i] = other.call.operands;
    }
    work(operands);
    for (unsigned i = 0; i < kWarpSize; ++i) {
      if (call.lanes >> i & 1) wake(first + i);
    }
    thread().fiber->leave();  // and go on in any order
  }

  // __syncwarp, of the same lanes each time. The other warp-wide calls order nothing in memory.
  void synchronize_warp(unsigned lanes, Place place) {
    Order& order = warp_order_[running_ / kWarpSize].phases[thread().warp_barriers++ % 2];
    order.release();
    gather_lanes({"__syncwarp", place, lanes, nullptr}, [](void**) {});
    order.acquire();
  }

  SharedMemory shared;
  inline static Order launch_order, end_order;

 private:
  struct TwoPhases {
    Order phases[2];
  };

  static void enter_thread() {
    Block& block = current();
    block.thread().fiber->entered();
    launch_order.acquire();
    block.kernel_(block.arguments_);
    end_order.release();
    {
      Unobserved unobserved;
      block.thread().finished = true;
      ++block.finished_;
      block.open_barrier();
    }
    block.thread().fiber->leave(/*forever=*/true);
  }

  bool pick_warp(unsigned& warp) {
    if (!runnable_[warp].empty() && random_() % (steadiness_ + 1) != 0) return true;
    unsigned seen = 0;
    for (unsigned i = 0; i < runnable_.size(); ++i) {
      if (!runnable_[i].empty() && random_() % ++seen == 0) warp = i;
    }
    return seen != 0;
  }

  void wait_in(Call call) {
    thread().waits = true;
    thread().call = call;
  }

  void wake(unsigned thread) {
    threads_[thread].waits = false;
    runnable_[thread / kWarpSize].push_back(thread);
  }

  // Lets all go on once the last one has come.
  void open_barrier() {
    if (at_barrier_ == 0 || at_barrier_ + finished_ != threads_.size()) return;
    const Thread* first = nullptr;
    for (const Thread& thread : threads_) {
      if (thread.finished) continue;
      if (first == nullptr) first = &thread;
      if (thread.call.place != first->call.place) {
        fail("threads meet in different __syncthreads:%s", describe().c_str());
      }
    }
    for (unsigned i = 0; i < threads_.size(); ++i) {
      if (!threads_[i].finished) wake(i);
    }
    at_barrier_ = 0;
  }

  // Who is where, neighbours at the same place on one line.
  std::string describe() const {
    std::string text;
    for (unsigned first = 0, next; first < threads_.size(); first = next) {
      const std::string what = describe(threads_[first]);
      for (next = first + 1; next < threads_.size() && describe(threads_[next]) == what;) {
        ++next;
      }
      text += "\n  threads " + std::to_string(first) + " to " + std::to_string(next - 1) +
              " of block (" + std::to_string(blockIdx.x) + ", " + std::to_string(blockIdx.y) +
              ", " + std::to_string(blockIdx.z) + ") " + what;
    }
    return text;
  }
  static std::string describe(const Thread& thread) {
    if (thread.finished) return "have ended";
    if (!thread.waits) return "can go on";
    return std::string("wait in ") + thread.call.name + " at " + thread.call.place.file + ":" +
           std::to_string(thread.call.place.line);
  }

  inline static Block* current_ = nullptr;
  std::vector<Thread> threads_;
  std::vector<std::vector<unsigned>> runnable_;  // a warp's threads that can go on
  std::vector<TwoPhases> warp_order_;
  Order block_order_[2];
  std::mt19937_64 random_;
  unsigned steadiness_, running_ = 0, finished_ = 0, at_barrier_ = 0;
  void (*kernel_)(void*) = nullptr;
  void* arguments_ = nullptr;
};

}  // namespace emulator
