// Images in which the channels of a pixel are adjacent in memory.
#pragma once

#include <cstdint>

namespace rmnet {

// Strides are in floats.
template <class Float>
struct Pixels {
  Float* start;
  int64_t image_stride, row_stride, pixel_stride;

  Float* at(int64_t image, int64_t y, int64_t x) const {
    return start + image * image_stride + y * row_stride + x * pixel_stride;
  }
};

}  // namespace rmnet
