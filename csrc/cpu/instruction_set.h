// Which vector instructions to use.
#pragma once

#include <string>

#if defined(__x86_64__) && defined(__GNUC__)
#define RMNET_X86
#endif

namespace rmnet {

enum class InstructionSet { kPortable, kAvx2, kAvx512 };

// "best": of those this processor runs. "avx512", "avx2" and "portable" are for tests and
// benchmarks; throws if the processor lacks it or the name is another.
InstructionSet choose_instruction_set(const std::string& name);

const char* name_of(InstructionSet instruction_set);

}  // namespace rmnet
