// rmnet::regional_read for the CPU: plans, attends to every span of memory, merges and writes.
#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "arena.h"
#include "attention.h"
#include "plan.h"

namespace rmnet {
namespace {

// The least work for which another thread pays off.
constexpr int64_t kSmallestShare = 1 << 20;  // multiply-adds

const AttentionTable& attention_of(InstructionSet instruction_set) {
#ifdef RMNET_X86
  if (instruction_set == InstructionSet::kAvx512) return avx512_attention;
  if (instruction_set == InstructionSet::kAvx2) return avx2_attention;
#endif
  return portable_attention;
}

const AttentionKernels& kernels_of(const AttentionTable& table, ScalarType dtype) {
  if (dtype == ScalarType::Half) return table.of_half;
  if (dtype == ScalarType::BFloat16) return table.of_bfloat16;
  return table.of_float;
}

// An object's packed queries, and a partial sum for each of its spans.
struct ObjectWork {
  float* packed_queries = nullptr;
  std::vector<Partial> partials;
};

// One call of the operator.
class Read {
 public:
  Read(const Inputs& inputs, ScalarType dtype, const AttentionKernels& kernels, void* readout)
      : inputs_(inputs),
        kernels_(kernels),
        widths_{inputs.key_width, inputs.value_width},
        element_size_(dtype == ScalarType::Float ? 4 : 2),
        readout_(static_cast<char*>(readout)),
        plans_(plan_objects(inputs)) {
    int64_t work = 0;
    for (const ObjectPlan& plan : plans_) work += plan.pairs() * (widths_.key + widths_.value);
    const int64_t threads = torch::stable::get_num_threads();
    shares_ = share_work(plans_, std::clamp<int64_t>(work / kSmallestShare, 1, threads),
                         kernels.cells_at_a_time / 4);
  }

  void run() {
    Arena counted(nullptr);
    lay_out(counted);
    memory_ = torch::stable::empty({counted.used() + 16}, ScalarType::Float);
    auto address = reinterpret_cast<uintptr_t>(memory_->mutable_data_ptr());
    Arena arena(reinterpret_cast<float*>(round_up(address, 64)));
    lay_out(arena);
    pack_queries();
    attend();
    write();
  }

 private:
  void lay_out(Arena& arena) {
    work_.assign(plans_.size(), {});
    scratch_.clear();
    for (size_t object = 0; object < plans_.size(); ++object) {
      if (plans_[object].pairs() == 0) continue;
      work_[object].packed_queries = arena.take(padded_rows(object) * widths_.key);
    }
    for (const std::vector<Span>& share : shares_) {
      scratch_.push_back(arena.take(share.empty() ? 0 : kernels_.scratch_size(widths_)));
      for (const Span& span : share) {
        const int64_t rows = padded_rows(span.object);
        const int64_t width = round_up(widths_.value, kernels_.column_multiple);
        // Over all shares, an object's spans come in the order of their numbers.
        work_[span.object].partials.push_back(
            {arena.take(rows * width), arena.take(rows), arena.take(rows)});
      }
    }
  }

  int64_t padded_rows(int64_t object) const {
    return round_up(plans_[object].rows(), kernels_.row_multiple);
  }

  void pack_queries() {
    const auto pack = [&](int64_t begin, int64_t end) {
      for (int64_t object = begin; object < end; ++object) {
        if (plans_[object].pairs() == 0) continue;
        const std::vector<int32_t>& cells = plans_[object].query_cells;
        kernels_.pack_queries(element(inputs_.query_key, object * inputs_.query_key_stride),
                              cells.data(), static_cast<int64_t>(cells.size()), padded_rows(object),
                              widths_.key, inputs_.scale, work_[object].packed_queries);
      }
    };
    torch::stable::parallel_for(0, inputs_.objects, 1, pack);
  }

  void attend() {
    const auto attend_to_shares = [&](int64_t begin, int64_t end) {
      for (int64_t worker = begin; worker < end; ++worker) {
        for (const Span& span : shares_[worker]) attend_to(span, scratch_[worker]);
      }
    };
    torch::stable::parallel_for(0, static_cast<int64_t>(shares_.size()), 1, attend_to_shares);
  }

  void attend_to(const Span& span, float* scratch) const {
    const ObjectPlan& plan = plans_[span.object];
    // Zeroed cells are counted once, with the object's first span.
    const int64_t zeroed_cells = span.number == 0 ? plan.zeroed_cells : 0;
    const Segment segment{
        element(inputs_.memory_key, span.object * inputs_.memory_key_stride),
        element(inputs_.memory_value, span.object * inputs_.memory_value_stride),
        plan.memory_cells.data() + span.first,
        span.last - span.first,
        static_cast<float>(zeroed_cells),
    };
    const ObjectWork& work = work_[span.object];
    kernels_.attend({work.packed_queries, plan.rows()}, segment, widths_,
                    work.partials[span.number], scratch);
  }

  // Writes one row of the grid at a time: readouts inside the query box, the background outside.
  void write() {
    const int64_t cell_bytes = widths_.value * element_size_;
    // Merging overwrites the partial sums, so each row, including the background, is merged once.
    std::vector<char> backgrounds(inputs_.objects * cell_bytes, 0);
    for (int64_t object = 0; object < inputs_.objects; ++object) {
      const ObjectPlan& plan = plans_[object];
      if (plan.pairs() == 0 || !plan.has_background) continue;
      merge(object, plan.rows() - 1, backgrounds.data() + object * cell_bytes);
    }
    const auto write_rows = [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t object = i / inputs_.height, y = i % inputs_.height;
        const Box& box = plans_[object].query_box;
        const char* background = backgrounds.data() + object * cell_bytes;
        char* row = readout_ + i * inputs_.width * cell_bytes;
        const bool crosses = y >= box.y0 && y < box.y1 && plans_[object].pairs() != 0;
        for (int64_t x = 0; x < inputs_.width; ++x) {
          char* cell = row + x * cell_bytes;
          if (crosses && x >= box.x0 && x < box.x1) {
            merge(object, (y - box.y0) * (box.x1 - box.x0) + x - box.x0, cell);
          } else {
            std::memcpy(cell, background, cell_bytes);
          }
        }
      }
    };
    torch::stable::parallel_for(0, inputs_.objects * inputs_.height, 4, write_rows);
  }

  void merge(int64_t object, int64_t row, char* readout) const {
    const std::vector<Partial>& partials = work_[object].partials;
    kernels_.merge(partials.data(), static_cast<int64_t>(partials.size()), row, widths_.value,
                   readout);
  }

  const void* element(const void* start, int64_t offset) const {
    return static_cast<const char*>(start) + offset * element_size_;
  }

  const Inputs& inputs_;
  const AttentionKernels& kernels_;
  const Widths widths_;
  const int64_t element_size_;
  char* const readout_;
  std::vector<ObjectPlan> plans_;
  std::vector<std::vector<Span>> shares_;
  std::vector<ObjectWork> work_;
  std::vector<float*> scratch_;
  std::optional<Tensor> memory_;
};

Tensor regional_read_cpu(const Tensor& query_key, const Tensor& memory_key,
                         const Tensor& memory_value, const Tensor& query_boxes,
                         const Tensor& memory_boxes, const std::optional<Tensor>& present,
                         bool zeroed, double scale, const std::string& instruction_set) {
  const CheckedInputs checked = check_inputs(query_key, memory_key, memory_value, query_boxes,
                                             memory_boxes, present, zeroed, scale);
  const Inputs& inputs = checked.inputs;
  Tensor readout = torch::stable::empty(
      {inputs.objects, inputs.height, inputs.width, inputs.value_width}, checked.dtype);
  const AttentionKernels& kernels =
      kernels_of(attention_of(choose_instruction_set(instruction_set)), checked.dtype);
  Read(inputs, checked.dtype, kernels, readout.mutable_data_ptr()).run();
  return readout;
}

}  // namespace
}  // namespace rmnet

STABLE_TORCH_LIBRARY_IMPL(rmnet, CPU, m) {
  m.impl("regional_read", TORCH_BOX(&rmnet::regional_read_cpu));
}
