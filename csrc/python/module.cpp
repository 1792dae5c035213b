// rmnet._C: the operator's schema and its CPU implementation.
#include "module.h"
#include "../cpu/attention.h"

namespace {

bool add_facts(PyObject* facts) {
  const char* instruction_set = rmnet::choose_attention("best").instruction_set;
  return rmnet::add_build_facts(facts) &&
         rmnet::add_fact(facts, "instruction set", PyUnicode_FromString(instruction_set));
}

}  // namespace

PyMODINIT_FUNC PyInit__C() { return rmnet::create_module("rmnet._C", add_facts); }
