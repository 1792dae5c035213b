#include "plan.h"

#include <algorithm>

namespace rmnet {
namespace {

void check_box(const char* name, const Box& box, const Inputs& inputs) {
  const bool inside = 0 <= box.x0 && box.x0 <= box.x1 && box.x1 <= inputs.width && 0 <= box.y0 &&
                      box.y0 <= box.y1 && box.y1 <= inputs.height;
  STD_TORCH_CHECK(inside, name, " has (", box.x0, ", ", box.y0, ", ", box.x1, ", ", box.y1,
                  "); accepted: x0 <= x1 and y0 <= y1 inside a grid of ", inputs.height, " x ",
                  inputs.width, " cells");
}

int64_t area(const Box& box) { return static_cast<int64_t>(box.x1 - box.x0) * (box.y1 - box.y0); }

void append_cells(const Box& box, int64_t first, int64_t width, std::vector<int32_t>& cells) {
  for (int64_t y = box.y0; y < box.y1; ++y) {
    for (int64_t x = box.x0; x < box.x1; ++x) {
      cells.push_back(static_cast<int32_t>(first + y * width + x));
    }
  }
}

ObjectPlan plan_object(const Inputs& inputs, int64_t object) {
  const Box* boxes = inputs.memory_boxes + object * inputs.frames;
  const bool* present = inputs.present ? inputs.present + object * inputs.frames : nullptr;
  ObjectPlan plan{};
  plan.query_box = inputs.query_boxes[object];
  check_box("query_boxes", plan.query_box, inputs);
  append_cells(plan.query_box, 0, inputs.width, plan.query_cells);

  int64_t frames_present = 0, cells = 0;
  for (int64_t t = 0; t < inputs.frames; ++t) {
    check_box("memory_boxes", boxes[t], inputs);
    if (present && !present[t]) continue;
    ++frames_present;
    cells += area(boxes[t]);
  }
  plan.memory_cells.reserve(cells);
  for (int64_t t = 0; t < inputs.frames; ++t) {
    if (present && !present[t]) continue;
    append_cells(boxes[t], t * inputs.cells(), inputs.width, plan.memory_cells);
  }
  if (inputs.zeroed) {
    plan.zeroed_cells = frames_present * inputs.cells() - cells;
    plan.has_background = area(plan.query_box) < inputs.cells();
  }
  return plan;
}

}  // namespace

std::vector<ObjectPlan> plan_objects(const Inputs& inputs) {
  std::vector<ObjectPlan> plans;
  plans.reserve(inputs.objects);
  for (int64_t object = 0; object < inputs.objects; ++object) {
    plans.push_back(plan_object(inputs, object));
  }
  return plans;
}

std::vector<std::vector<Span>> share_work(const std::vector<ObjectPlan>& plans, int64_t workers,
                                          int64_t granule) {
  int64_t total = 0;
  for (const ObjectPlan& plan : plans) total += plan.pairs();

  // The work of all objects, as one sequence, is cut into equal parts.
  std::vector<std::vector<Span>> shares(workers);
  int64_t before = 0;
  for (size_t object = 0; object < plans.size(); ++object) {
    const ObjectPlan& plan = plans[object];
    if (plan.pairs() == 0) continue;
    int64_t first = 0, number = 0;
    for (int64_t worker = 0; worker < workers; ++worker) {
      const int64_t end =
          total / workers * (worker + 1) - before;  // of the share, within this object
      const int64_t cut = (end / plan.rows() + granule / 2) / granule * granule;
      const int64_t last = worker + 1 == workers ? plan.num_memory_cells()
                                                 : std::clamp(cut, first, plan.num_memory_cells());
      if (last > first) {
        shares[worker].push_back({static_cast<int64_t>(object), number++, first, last});
      }
      first = last;
    }
    before += plan.pairs();
  }
  return shares;
}

}  // namespace rmnet
