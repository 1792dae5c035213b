// The first kernel: turns boxes into regions and units of work. The host does not need its results.
#pragma once

#include "work.cuh"

namespace rmnet::cuda {

constexpr int kPlanThreads = 1024;

struct PlanInputs {
  Shape shape;
  const int32_t* query_boxes;   // (objects, 4): x0, y0, x1, y1 in cells, half-open
  const int32_t* memory_boxes;  // (objects, frames, 4)
  const bool* present;          // (objects, frames), or null
  bool zeroed;
};

struct Region {
  int x, y, width, height;

  __device__ int area() const { return width * height; }
};

__device__ __forceinline__ int clamped(int value, int most) { return min(max(value, 0), most); }

// The part of a box that lies on the grid. The CPU raises an error where this clamps; an error here
// would have to wait for the device, so this only prevents accesses outside the arrays.
__device__ inline Region region_on_grid(const int32_t* box, const Shape& shape) {
  const int x0 = clamped(box[0], shape.width), x1 = clamped(box[2], shape.width);
  const int y0 = clamped(box[1], shape.height), y1 = clamped(box[3], shape.height);
  return {x0, y0, max(x1 - x0, 0), max(y1 - y0, 0)};
}

// Returns to each lane the sum over all lanes up to and including it.
template <typename T>
__device__ __forceinline__ T running_sum(T value, int lane) {
  for (int delta = 1; delta < kWarp; delta *= 2) {
    const T before = __shfl_up_sync(kAllLanes, value, delta);
    if (lane >= delta) value += before;
  }
  return value;
}

// By one warp: plans an object's regions, 32 frames at a time, and all of its plan but
// `first_unit`.
template <typename Tile>
__device__ inline void plan_object(const PlanInputs& inputs, const Workspace& workspace, int object,
                                   int lane) {
  const Shape& shape = inputs.shape;
  const int64_t first = int64_t{object} * shape.frames;
  int memory_cells = 0, present_frames = 0;
  for (int base = 0; base < shape.frames; base += kWarp) {
    const int frame = base + lane;
    const bool counts =
        frame < shape.frames && (inputs.present == nullptr || inputs.present[first + frame]);
    Region region{};
    if (counts) region = region_on_grid(inputs.memory_boxes + 4 * (first + frame), shape);
    const int cells_up_to = memory_cells + running_sum(region.area(), lane);
    if (frame < shape.frames) {
      FrameRegion& out = workspace.frames[first + frame];
      out.cells_before = cells_up_to - region.area();
      out.first_cell = (frame * shape.height + region.y) * shape.width + region.x;
      out.box_width = region.width;
    }
    memory_cells = __shfl_sync(kAllLanes, cells_up_to, kWarp - 1);
    present_frames += __shfl_sync(kAllLanes, running_sum(int{counts}, lane), kWarp - 1);
  }
  if (lane != 0) return;
  const Region query = region_on_grid(inputs.query_boxes + int64_t{4} * object, shape);
  ObjectPlan& plan = workspace.objects[object];
  plan.query_x = query.x;
  plan.query_y = query.y;
  plan.query_width = query.width;
  plan.query_cells = query.area();
  plan.rows = query.area() + (inputs.zeroed && query.area() < shape.cells());
  plan.memory_cells = memory_cells;
  plan.sink_cells = inputs.zeroed ? present_frames * shape.cells() - memory_cells : 0;
  plan.row_tiles = static_cast<int>(divide_up(plan.rows, Tile::kRows));
  plan.key_tiles = static_cast<int>(divide_up(memory_cells, Tile::kKeys));
}

// By one warp: counts the units, 32 objects at a time.
template <typename Tile>
__device__ inline void number_units(ObjectPlan* objects, int count, int lane) {
  int64_t before = 0;
  for (int base = 0; base < count; base += kWarp) {
    const int object = base + lane;
    int64_t units = 0;
    if (object < count) {
      units = int64_t{objects[object].row_tiles} * Tile::kColumnParts * objects[object].key_tiles;
    }
    const int64_t up_to = before + running_sum(units, lane);
    if (object < count) objects[object].first_unit = up_to - units;
    before = __shfl_sync(kAllLanes, up_to, kWarp - 1);
  }
  if (lane == 0) objects[count].first_unit = before;
}

// One warp plans each object; then, with all plans in place, the first warp counts the units.
// Launch: grid (1), block (kPlanThreads), no dynamic shared memory.
template <typename Tile>
__global__ void __launch_bounds__(kPlanThreads) plan_work(PlanInputs inputs, Workspace workspace) {
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  for (int object = warp; object < inputs.shape.objects; object += kPlanThreads / kWarp) {
    plan_object<Tile>(inputs, workspace, object, lane);
  }
  __syncthreads();
  if (warp == 0) number_units<Tile>(workspace.objects, inputs.shape.objects, lane);
}

}  // namespace rmnet::cuda
