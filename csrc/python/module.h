// The two Python modules: each contains only FACTS, a description of the build. Importing a module
// loads its binary, which registers schemas or implementations of the operators.
#pragma once

#include <Python.h>
#include <torch/headeronly/version.h>

#define RMNET_TEXT_OF(x) #x
#define RMNET_TEXT(x) RMNET_TEXT_OF(x)

#ifdef __clang__
#define RMNET_COMPILER "clang " __clang_version__
#else
#define RMNET_COMPILER "g++ " __VERSION__
#endif

namespace rmnet {

// rmnet/ops/extension.py looks for this in the file before it loads the binary.
__attribute__((used)) static const char source_hash[] =
    "RMNET_SOURCE_HASH=" RMNET_TEXT(RMNET_SOURCE_HASH);

// Steals the reference to `text`, which may be null. Returns false if a Python exception is set.
inline bool add_fact(PyObject* facts, const char* name, PyObject* text) {
  const bool added = text && PyDict_SetItemString(facts, name, text) == 0;
  Py_XDECREF(text);
  return added;
}

inline bool add_build_facts(PyObject* facts) {
  constexpr int oldest_major = TORCH_TARGET_VERSION >> 56 & 0xff;
  constexpr int oldest_minor = TORCH_TARGET_VERSION >> 48 & 0xff;
  return add_fact(facts, "torch", PyUnicode_FromString(TORCH_VERSION)) &&
         add_fact(facts, "oldest torch",
                  PyUnicode_FromFormat("%d.%d", oldest_major, oldest_minor)) &&
         add_fact(facts, "compiler", PyUnicode_FromString(RMNET_COMPILER)) &&
         add_fact(facts, "C++", PyUnicode_FromFormat("%d", int(__cplusplus / 100 % 100))) &&
         add_fact(facts, "source hash", PyUnicode_FromString(RMNET_TEXT(RMNET_SOURCE_HASH)));
}

// Creates a module with the FACTS that `add_facts` adds; null if a Python exception is set.
inline PyObject* create_module(const char* name, bool (*add_facts)(PyObject*)) {
  static PyModuleDef definition = {
      PyModuleDef_HEAD_INIT, nullptr, nullptr, -1, nullptr, nullptr, nullptr, nullptr, nullptr};
  definition.m_name = name;
  PyObject* module = PyModule_Create(&definition);
  PyObject* facts = PyDict_New();
  if (!module || !facts || !add_facts(facts) || PyModule_AddObjectRef(module, "FACTS", facts) < 0) {
    Py_CLEAR(module);
  }
  Py_XDECREF(facts);
  return module;
}

}  // namespace rmnet
