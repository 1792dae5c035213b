// Signatures of the operators. rmnet/ops/regional_read.py, convolution.py and inverted_residual.py
// document them.
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(rmnet, m) {
  m.def(
      "regional_read(Tensor query_key, Tensor memory_key, Tensor memory_value, "
      "Tensor query_boxes, Tensor memory_boxes, Tensor? present, bool zeroed, float scale, "
      "str instruction_set='best') -> Tensor");
  m.def(
      "conv3x3(Tensor(a!) out, Tensor x, Tensor weight, Tensor? scale, Tensor? bias, "
      "Tensor? residual, bool relu_input, bool relu_output, str instruction_set='best', "
      "Tensor(b!)? scratch=None) -> ()");
  m.def(
      "inverted_residual(Tensor(a!) out, Tensor x, Tensor packed, int expanded, int kernel, "
      "int stride, bool expand, bool residual, str instruction_set='best', "
      "Tensor(b!)? scratch=None) -> ()");
  m.def(
      "pack_inverted_residual(Tensor? expand, Tensor? expand_bias, Tensor depthwise, "
      "Tensor depthwise_bias, Tensor project, Tensor project_bias) -> Tensor");
}
