// rmnet._C_cuda: CUDA implementation of regional_read. rmnet._C, with the schema, is loaded first.
#include <cuda_runtime_api.h>

#include "module.h"

namespace {

bool add_facts(PyObject* facts) {
  constexpr int major = CUDART_VERSION / 1000, minor = CUDART_VERSION % 1000 / 10;
  return rmnet::add_build_facts(facts) &&
         rmnet::add_fact(facts, "CUDA", PyUnicode_FromFormat("%d.%d", major, minor)) &&
         rmnet::add_fact(facts, "architectures",
                         PyUnicode_FromString(RMNET_TEXT(RMNET_ARCHITECTURES)));
}

}  // namespace

PyMODINIT_FUNC PyInit__C_cuda() { return rmnet::create_module("rmnet._C_cuda", add_facts); }
