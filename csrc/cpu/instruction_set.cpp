#include "instruction_set.h"

#include <torch/headeronly/util/Exception.h>

#include <vector>

namespace rmnet {
namespace {

// The instruction sets of this processor, best first.
std::vector<InstructionSet> find_instruction_sets() {
  std::vector<InstructionSet> found;
#ifdef RMNET_X86
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("fma")) {
    found.push_back(InstructionSet::kAvx512);
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      __builtin_cpu_supports("f16c")) {
    found.push_back(InstructionSet::kAvx2);
  }
#endif
  found.push_back(InstructionSet::kPortable);
  return found;
}

}  // namespace

InstructionSet choose_instruction_set(const std::string& name) {
  static const std::vector<InstructionSet> found = find_instruction_sets();
  if (name == "best") return found.front();
  for (const InstructionSet candidate : found) {
    if (name == name_of(candidate)) return candidate;
  }
  STD_TORCH_CHECK(false, "instruction_set is \"", name,
                  "\", which this processor does not support; accepted: \"best\"");
  return InstructionSet::kPortable;
}

const char* name_of(InstructionSet instruction_set) {
  switch (instruction_set) {
    case InstructionSet::kAvx512:
      return "avx512";
    case InstructionSet::kAvx2:
      return "avx2";
    default:
      return "portable";
  }
}

}  // namespace rmnet
