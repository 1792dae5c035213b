// Four floats at a time in plain C++, for every processor; the compiler vectorises what it can.
#pragma once

#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <cmath>

namespace rmnet {

struct SimdPortable {
  static constexpr int kLanes = 4;
  static constexpr int kTileRows = 4;  // rows of sums that fit the registers
  static constexpr int kQueries = 48;

  struct Vector {
    float lane[kLanes];
  };
  using Narrow = SimdPortable;  // has at most eight lanes

  template <class Function>
  static Vector make(Function&& of_lane) {
    Vector v;
    for (int i = 0; i < kLanes; ++i) v.lane[i] = of_lane(i);
    return v;
  }

  static Vector broadcast(float x) {
    return make([&](int) { return x; });
  }
  template <class Element>
  static Vector load(const Element* p) {
    return make([&](int i) { return static_cast<float>(p[i]); });
  }
  template <class Element>
  static void store(Element* p, Vector v) {
    for (int i = 0; i < kLanes; ++i) p[i] = static_cast<Element>(v.lane[i]);
  }
  static Vector add(Vector a, Vector b) {
    return make([&](int i) { return a.lane[i] + b.lane[i]; });
  }
  static Vector subtract(Vector a, Vector b) {
    return make([&](int i) { return a.lane[i] - b.lane[i]; });
  }
  static Vector multiply(Vector a, Vector b) {
    return make([&](int i) { return a.lane[i] * b.lane[i]; });
  }
  static Vector multiply_add(Vector a, Vector b, Vector c) {
    return make([&](int i) { return a.lane[i] * b.lane[i] + c.lane[i]; });
  }
  static Vector max(Vector a, Vector b) {
    // Like the vector instructions: the second operand if either is NaN.
    return make([&](int i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
  }
  static Vector min(Vector a, Vector b) {
    return make([&](int i) { return a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]; });
  }
  static Vector exp(Vector a) {
    return make([&](int i) { return std::exp(a.lane[i]); });
  }
};

}  // namespace rmnet
