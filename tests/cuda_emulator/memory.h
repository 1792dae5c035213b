// The two memories of a kernel: global buffers that are registered, and the block's dynamic shared
// memory. Everything starts as 0xFF bytes: a NaN in float, half and bfloat16, and -1 in int.
#pragma once

#include <cstdint>
#include <cstring>
#include <deque>
#include <map>
#include <vector>

#include "fibers.h"

namespace emulator {

constexpr int kPoison = 0xFF;

// Global allocations by their first byte, for the checks of asynchronous copies.
class GlobalMemory {
 public:
  static void add(const void* pointer, std::size_t size) {
    sizes()[reinterpret_cast<std::uintptr_t>(pointer)] = size;
  }
  static void remove(const void* pointer) {
    sizes().erase(reinterpret_cast<std::uintptr_t>(pointer));
  }
  static bool holds(const void* pointer, std::size_t size) {
    const auto address = reinterpret_cast<std::uintptr_t>(pointer);
    auto next = sizes().upper_bound(address);
    if (next == sizes().begin()) return false;
    --next;
    return address + size <= next->first + next->second;
  }

 private:
  static std::map<std::uintptr_t, std::size_t>& sizes() {
    static std::map<std::uintptr_t, std::size_t> sizes;
    return sizes;
  }
};

// A registered global allocation of exactly `count` elements, poisoned, aligned as by cudaMalloc.
// Each is an allocation of its own, so that AddressSanitizer knows its ends.
template <typename T>
class GlobalBuffer {
 public:
  explicit GlobalBuffer(std::size_t count) : count_(count) {
    if (posix_memalign(reinterpret_cast<void**>(&data_), 256, count * sizeof(T) + !count) != 0) {
      fail("no memory for %zu elements", count);
    }
    std::memset(static_cast<void*>(data_), kPoison, count * sizeof(T));
    GlobalMemory::add(data_, count * sizeof(T));
  }
  ~GlobalBuffer() {
    GlobalMemory::remove(data_);
    std::free(data_);
  }
  GlobalBuffer(const GlobalBuffer&) = delete;
  GlobalBuffer& operator=(const GlobalBuffer&) = delete;

  T* data() { return data_; }
  std::size_t count() const { return count_; }
  std::size_t bytes() const { return count_ * sizeof(T); }
  T& operator[](std::size_t i) { return data_[i]; }

 private:
  T* data_ = nullptr;
  std::size_t count_;
};

// A block's dynamic shared memory between two guard zones. Its 32-bit addresses start at kBase, so
// that an address of 0 is an error, and it is aligned to 16 bytes and no more.
class SharedMemory {
 public:
  static constexpr std::uint32_t kBase = 1024;

  explicit SharedMemory(std::size_t size) : size_(size), memory_(2 * kGuard + size, kGuardByte) {
    const auto address = reinterpret_cast<std::uintptr_t>(memory_.data());
    data_ = memory_.data() + kGuard - 128 + (16 - address % 128 + 128) % 128;
    std::memset(data_, kPoison, size);
#ifdef __SANITIZE_ADDRESS__
    __asan_poison_memory_region(memory_.data(), static_cast<std::size_t>(data_ - memory_.data()));
    __asan_poison_memory_region(data_ + size, static_cast<std::size_t>(end() - data_) - size);
#endif
  }
  ~SharedMemory() {
#ifdef __SANITIZE_ADDRESS__
    __asan_unpoison_memory_region(memory_.data(), memory_.size());
#endif
  }

  unsigned char* data() { return data_; }

  // The 32-bit address that ldmatrix and cp.async take.
  std::uint32_t address_of(const void* pointer) const {
    const auto offset = static_cast<const unsigned char*>(pointer) - data_;
    if (offset < 0 || offset > static_cast<std::ptrdiff_t>(size_)) {
      fail("shared_address of a pointer %td bytes from the start of %zu shared bytes", offset,
           size_);
    }
    return kBase + static_cast<std::uint32_t>(offset);
  }

  // The 16 bytes at an address; PTX ISA, ldmatrix and cp.async: aligned to 16 bytes.
  unsigned char* row(std::uint32_t address, const char* what) {
    const std::int64_t offset = static_cast<std::int64_t>(address) - kBase;
    if (offset < 0 || offset + 16 > static_cast<std::int64_t>(size_)) {
      fail("%s at byte %lld of %zu shared bytes", what, static_cast<long long>(offset), size_);
    }
    if (offset % 16 != 0) {
      fail("%s at byte %lld: not aligned to 16", what, static_cast<long long>(offset));
    }
    return data_ + offset;
  }

  // After the block; AddressSanitizer finds the same at the very access.
  void check_guards() {
#ifndef __SANITIZE_ADDRESS__
    for (unsigned char* byte = memory_.data(); byte != end(); ++byte) {
      if (byte == data_) {
        byte += size_;
      }
      if (byte == end()) break;
      if (*byte != kGuardByte) fail("a write at byte %td of %zu shared bytes", byte - data_, size_);
    }
#endif
  }

 private:
  static constexpr std::size_t kGuard = 4096;
  static constexpr unsigned char kGuardByte = 0xA5;

  unsigned char* end() { return memory_.data() + memory_.size(); }

  std::size_t size_;
  std::vector<unsigned char> memory_;
  unsigned char* data_;
};

// The cp.async of one thread. PTX ISA, "Asynchronous copy operations": a group is complete only
// after a wait that covers it; until then the destination may hold anything, and holds poison here.
class AsynchronousCopies {
 public:
  void start(unsigned char* destination, const void* source, bool valid) {
    if (valid && reinterpret_cast<std::uintptr_t>(source) % 16 != 0) {
      fail("cp.async from %p: not aligned to 16", source);
    }
    if (valid && !GlobalMemory::holds(source, 16)) {
      fail("cp.async from %p: 16 bytes that are in no global buffer", source);
    }
    observe_write(destination, 16);
    Unobserved unobserved;
    std::memset(destination, kPoison, 16);
    open_.push_back({destination, valid ? source : nullptr});
  }

  void commit() {
    Unobserved unobserved;
    groups_.push_back(std::move(open_));
    open_.clear();
  }

  // cp.async.wait_group: all but the `pending` latest groups land; open copies do not.
  void wait(std::size_t pending) {
    for (; groups_.size() > pending; groups_.pop_front()) {
      for (const Copy& copy : groups_.front()) {
        land(copy);
      }
    }
  }

 private:
  struct Copy {
    unsigned char* destination;
    const void* source;  // null: zeros
  };

  static void land(const Copy& copy) {
    observe_write(copy.destination, 16);
    if (copy.source != nullptr) {
      observe_read(copy.source, 16);
    }
    Unobserved unobserved;
    if (copy.source == nullptr) {
      std::memset(copy.destination, 0, 16);
    } else {
      std::memcpy(copy.destination, copy.source, 16);
    }
  }

  std::vector<Copy> open_;
  std::deque<std::vector<Copy>> groups_;
};

}  // namespace emulator
