// Several arrays of floats in one allocation.
#pragma once

#include <cstdint>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

namespace rmnet {

inline int64_t round_up(int64_t size, int64_t multiple) {
  return (size + multiple - 1) / multiple * multiple;
}

// Hands out parts of one allocation, each aligned to a cache line. Callers use it twice: with a
// null pointer to measure the total size, then to get the parts.
class Arena {
 public:
  explicit Arena(float* start) : start_(start) {}
  float* take(int64_t floats) {
    float* part = start_ ? start_ + used_ : nullptr;
    used_ += round_up(floats, kLine);
#ifdef __SANITIZE_ADDRESS__  // detects writes past the end of a part
    if (start_) ASAN_POISON_MEMORY_REGION(start_ + used_, kLine * sizeof(float));
    used_ += kLine;
#endif
    return part;
  }
  int64_t used() const { return used_; }

 private:
  static constexpr int64_t kLine = 16;  // floats
  float* start_;
  int64_t used_ = 0;
};

}  // namespace rmnet
