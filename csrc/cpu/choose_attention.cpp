// Which instruction set to use.
#include <torch/headeronly/util/Exception.h>

#include <vector>

#include "attention.h"

namespace rmnet {
namespace {

// What this processor runs, best first.
std::vector<const AttentionTable*> find_attention() {
  std::vector<const AttentionTable*> found;
#ifdef RMNET_X86
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl")) {
    found.push_back(&avx512_attention);
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      __builtin_cpu_supports("f16c")) {
    found.push_back(&avx2_attention);
  }
#endif
  found.push_back(&portable_attention);
  return found;
}

}  // namespace

const AttentionTable& choose_attention(const std::string& instruction_set) {
  static const std::vector<const AttentionTable*> found = find_attention();
  if (instruction_set == "best") return *found.front();
  for (const AttentionTable* table : found) {
    if (instruction_set == table->instruction_set) return *table;
  }
  STD_TORCH_CHECK(false, "instruction_set is \"", instruction_set,
                  "\"; this processor runs nothing of that name; accepted: \"best\"");
  return portable_attention;
}

}  // namespace rmnet
