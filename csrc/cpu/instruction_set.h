// Choice of vector instructions.
#pragma once

#include <string>

#if defined(__x86_64__) && defined(__GNUC__)
#define RMNET_X86
#endif

namespace rmnet {

enum class InstructionSet { kPortable, kAvx2, kAvx512 };

// Returns the instruction set of that name; "best" is the best one that this processor supports.
// "avx512", "avx2" and "portable" are for tests and benchmarks. Throws if the processor does not
// support it or the name is unknown.
InstructionSet choose_instruction_set(const std::string& name);

const char* name_of(InstructionSet instruction_set);

}  // namespace rmnet
