// rmnet._C: schemas of the operators and their CPU implementations.
#include "module.h"
#include "../cpu/instruction_set.h"

namespace {

bool add_facts(PyObject* facts) {
  const char* instruction_set = rmnet::name_of(rmnet::choose_instruction_set("best"));
  return rmnet::add_build_facts(facts) &&
         rmnet::add_fact(facts, "instruction set", PyUnicode_FromString(instruction_set));
}

}  // namespace

PyMODINIT_FUNC PyInit__C() { return rmnet::create_module("rmnet._C", add_facts); }
