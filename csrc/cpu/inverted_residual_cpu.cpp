// rmnet::inverted_residual for the CPU: the output in strips, spread over threads.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "arena.h"
#include "images.h"
#include "inverted_residual.h"

namespace rmnet {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Number of output columns of a strip. Wide, since neighbouring strips both compute a few columns
// of e.
constexpr int64_t kColumnsAtATime = 108;

// Strips are not made narrower than this to occupy every thread.
constexpr int64_t kFewestColumns = 24;

// Parts of a strip have at least as many output rows: each part recomputes its first rows of e.
constexpr int64_t kFewestRows = 4;

// Size of the ring, 256 KiB: with weights and a row of d, it fits a second-level cache.
constexpr int64_t kRingFloats = 64 * 1024;

const InvertedResidualKernels& inverted_residual_of(InstructionSet instruction_set) {
#ifdef RMNET_X86
  if (instruction_set == InstructionSet::kAvx512) return avx512_inverted_residual;
  if (instruction_set == InstructionSet::kAvx2) return avx2_inverted_residual;
#endif
  return portable_inverted_residual;
}

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Division of the output into strips of columns, and of a strip into parts by rows. The smallest
// number that gives every thread equally many, if there is one.
struct Cut {
  int64_t strips, parts = 1;  // strips per image, parts per strip

  Cut(const InvertedResidual& block, int64_t threads) {
    const int64_t fewest = divide_up(block.out_width(), kColumnsAtATime);
    const auto divides = [&] { return block.images * strips * parts % threads == 0; };
    for (strips = fewest; block.out_width() / strips >= kFewestColumns; ++strips) {
      if (divides()) return;
    }
    strips = fewest;
    while (!divides() && block.out_height() / (parts + 1) >= kFewestRows) ++parts;
  }

  OutputPart part(const InvertedResidual& block, int64_t item) const {
    const int64_t strip = item % strips, part = item / strips % parts;
    const int64_t rows = block.out_height(), columns = block.out_width();
    return {item / strips / parts, part * rows / parts, (part + 1) * rows / parts,
            strip * columns / strips, (strip + 1) * columns / strips};
  }
};

// Returns the number of panels at a time, at most those that fit the ring: equal numbers, except
// for the last.
int64_t panels_at_a_time(const InvertedResidual& block, int64_t columns) {
  const int64_t fit =
      std::max<int64_t>(kRingFloats / StripScratch(block, columns, 1).panel_stride, 1);
  return divide_up(block.panels(), divide_up(block.panels(), fit));
}

void compute(const InvertedResidual& block, const InvertedResidualKernels& kernels,
             const std::optional<Tensor>& scratch) {
  const int64_t threads = torch::stable::get_num_threads();
  const Cut cut(block, threads);
  const int64_t items = block.images * cut.strips * cut.parts;
  const int64_t workers = std::min(threads, items);
  const int64_t columns = divide_up(block.out_width(), cut.strips);
  std::vector<StripScratch> buffers(workers,
                                    StripScratch(block, columns, panels_at_a_time(block, columns)));
  const auto lay_out = [&](Arena arena) {
    for (StripScratch& buffer : buffers) {
      buffer.ring = arena.take(buffer.panels * buffer.panel_stride);
      buffer.zeros = arena.take(buffer.row_stride);
      buffer.filtered = arena.take(buffer.panels * buffer.filtered_stride);
    }
    return arena.used();
  };
  const int64_t size = lay_out(Arena(nullptr)) + 16;
  Tensor memory = scratch && scratch->numel() >= size
                      ? *scratch
                      : torch::stable::empty({size}, ScalarType::Float);
  auto address = reinterpret_cast<uintptr_t>(memory.mutable_data_ptr());
  lay_out(Arena(reinterpret_cast<float*>(round_up(address, 64))));
  for_each(workers, [&](int64_t worker) {
    for (int64_t item = worker * items / workers; item < (worker + 1) * items / workers; ++item) {
      kernels.compute(block, cut.part(block, item), buffers[worker]);
    }
  });
}

void inverted_residual_cpu(const Tensor& out, const Tensor& x, const Tensor& packed,
                           int64_t expanded, int64_t kernel, int64_t stride, bool expand,
                           bool residual, const std::string& instruction_set,
                           const std::optional<Tensor>& scratch) {
  check_images("x", x);
  check_images("out", out);
  const int64_t channels = x.size(1), out_channels = out.size(1);
  STD_TORCH_CHECK(kernel == 3 || kernel == 5, "kernel must be 3 or 5");
  STD_TORCH_CHECK(stride == 1 || stride == 2, "stride must be 1 or 2");
  STD_TORCH_CHECK(channels > 0 && out_channels > 0 && expanded > 0, "there are no channels");
  STD_TORCH_CHECK(expand || expanded == channels, "x has ", channels, " channels; expected ",
                  expanded, ", since the block does not expand them");
  STD_TORCH_CHECK(!residual || (stride == 1 && channels == out_channels),
                  "x cannot be added: its shape differs from that of the result");
  STD_TORCH_CHECK(has_channels_last(out), "the channels of out must be adjacent in memory");
  const PackedLayout layout(channels, expanded, out_channels, kernel, expand);
  STD_TORCH_CHECK(packed.dim() == 1 && packed.scalar_type() == ScalarType::Float &&
                      packed.is_contiguous() && packed.size(0) == layout.size,
                  "packed must be contiguous float32 of shape (", layout.size, ",)");
  STD_TORCH_CHECK(
      !scratch || (scratch->scalar_type() == ScalarType::Float && scratch->is_contiguous()),
      "scratch must be contiguous float32");
  const Tensor input = channels_last(x);
  const InvertedResidual block{
      x.size(0),        x.size(2),
      x.size(3),        channels,
      expanded,         out_channels,
      kernel,           stride,
      expand,           residual,
      pixels_of(input), pixels_of(out, static_cast<float*>(out.mutable_data_ptr())),
      layout,           static_cast<const float*>(packed.const_data_ptr())};
  STD_TORCH_CHECK(out.size(0) == block.images && out.size(2) == block.out_height() &&
                      out.size(3) == block.out_width(),
                  "out does not have the shape of the result");
  const InvertedResidualKernels& kernels =
      inverted_residual_of(choose_instruction_set(instruction_set));
  if (out.numel() > 0) compute(block, kernels, scratch);
}

}  // namespace
}  // namespace rmnet

STABLE_TORCH_LIBRARY_IMPL(rmnet, CPU, m) {
  m.impl("inverted_residual", TORCH_BOX(&rmnet::inverted_residual_cpu));
}
