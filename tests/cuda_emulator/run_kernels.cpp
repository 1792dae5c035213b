// Runs the three launches of csrc/cuda/regional_read_cuda.cu for one case: `run_kernels < case >
// readout`. What a case is made of stands in `Header` and in `main`.
#include <algorithm>
#include <cstdio>
#include <memory>

#include "cuda/combine.cuh"
#include "cuda/plan.cuh"
#include "cuda/read.cuh"

namespace {

using emulator::fail;
using emulator::GlobalBuffer;
using namespace rmnet::cuda;

struct Header {
  enum Dtype : std::int64_t { kFloat, kHalf, kBfloat16 };

  std::int64_t dtype, objects, frames, height, width, key_width, value_width;
  std::int64_t query_key_stride, memory_key_stride, memory_value_stride;
  std::int64_t has_present, zeroed;
  std::int64_t resident_blocks;  // of the read, on the device that is played
  std::int64_t seed;             // of the order of blocks and threads
  double scale;
};

template <typename T>
std::unique_ptr<GlobalBuffer<T>> receive(std::int64_t count) {
  auto buffer = std::make_unique<GlobalBuffer<T>>(static_cast<std::size_t>(count));
  if (std::fread(buffer->data(), sizeof(T), buffer->count(), stdin) != buffer->count()) {
    fail("the case ends early");
  }
  return buffer;
}

// An object's part is contiguous, and from one to the next it is `stride`; not a byte more is here
// than the kernels may read.
template <typename Element>
std::unique_ptr<GlobalBuffer<Element>> receive_objects(const Header& header, std::int64_t stride,
                                                       std::int64_t count) {
  return receive<Element>((header.objects - 1) * stride + count);
}

template <typename Tile>
void run(const Header& header) {
  using Element = typename Tile::Element;
  const Shape shape{static_cast<int>(header.objects), static_cast<int>(header.frames),
                    static_cast<int>(header.height), static_cast<int>(header.width)};
  const std::int64_t frame_cells = header.frames * shape.cells();
  const auto query_key =
      receive_objects<Element>(header, header.query_key_stride, shape.cells() * Tile::kKeyWidth);
  const auto memory_key =
      receive_objects<Element>(header, header.memory_key_stride, frame_cells * Tile::kKeyWidth);
  const auto memory_value =
      receive_objects<Element>(header, header.memory_value_stride, frame_cells * Tile::kValueWidth);
  const auto query_boxes = receive<std::int32_t>(header.objects * 4);
  const auto memory_boxes = receive<std::int32_t>(header.objects * header.frames * 4);
  const auto present = receive<bool>(header.has_present ? header.objects * header.frames : 0);

  // From here on as `launch` does it.
  const auto read_blocks = static_cast<int>(std::clamp<std::int64_t>(
      header.resident_blocks, 1, std::max<std::int64_t>(most_units<Tile>(shape), 1)));
  std::size_t bytes = 0;
  Workspace::lay_out<Tile>(shape, read_blocks, nullptr, bytes);
  GlobalBuffer<unsigned char> memory(bytes);
  const auto workspace = Workspace::lay_out<Tile>(shape, read_blocks, memory.data(), bytes);
  GlobalBuffer<Element> readout(header.objects * shape.cells() * Tile::kValueWidth);

  const PlanInputs plan_inputs{shape, query_boxes->data(), memory_boxes->data(),
                               header.has_present ? present->data() : nullptr, header.zeroed != 0};
  const ReadInputs<Element> read_inputs{shape,
                                        query_key->data(),
                                        memory_key->data(),
                                        memory_value->data(),
                                        header.query_key_stride,
                                        header.memory_key_stride,
                                        header.memory_value_stride,
                                        static_cast<float>(header.scale) * 1.44269504f,
                                        readout.data()};
  emulator::launch(plan_work<Tile>, 1, kPlanThreads, 0, header.seed, plan_inputs, workspace);
  emulator::launch(read_memory<Tile>, read_blocks, Tile::kThreads, sizeof(typename Tile::Shared),
                   header.seed, read_inputs, workspace);
  using Blocks = CombineBlocks<Tile>;
  emulator::launch(combine_pieces<Tile>, header.objects * Blocks::per_object(shape),
                   Blocks::kThreads, 0, header.seed, shape, workspace, read_blocks, readout.data());

  std::fwrite(readout.data(), 1, readout.bytes(), stdout);
}

template <int kKeyWidth, int kValueWidth>
void run_for_dtype(const Header& header) {
  if (header.dtype == Header::kFloat) return run<FloatTile<kKeyWidth, kValueWidth>>(header);
  if (header.dtype == Header::kHalf) return run<HalfTile<__half, kKeyWidth, kValueWidth>>(header);
#ifndef FEW_KERNELS
  if (header.dtype == Header::kBfloat16) {
    return run<HalfTile<__nv_bfloat16, kKeyWidth, kValueWidth>>(header);
  }
#endif
  fail("no kernel for dtype %lld", static_cast<long long>(header.dtype));
}

}  // namespace

int main() {
  Header header;
  if (std::fread(&header, sizeof(header), 1, stdin) != 1) fail("no case on standard input");
  if (header.key_width == 128 && header.value_width == 512) {
    run_for_dtype<128, 512>(header);
#ifndef FEW_KERNELS  // the sanitizers are slow compilers, and these are the same templates
  } else if (header.key_width == 64 && header.value_width == 192) {
    run_for_dtype<64, 192>(header);
#endif
  } else {
    fail("no kernels for these widths");
  }
}
