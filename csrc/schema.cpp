// The operator's signature. rmnet/ops/regional_read.py is its documentation.
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(rmnet, m) {
  m.def(
      "regional_read(Tensor query_key, Tensor memory_key, Tensor memory_value, "
      "Tensor query_boxes, Tensor memory_boxes, Tensor? present, bool zeroed, float scale, "
      "str instruction_set='best') -> Tensor");
}
