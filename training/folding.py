"""BatchNorms folded into their convolutions, once per step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rmnet.network import InvertedResidual

Layer = Callable[[Tensor], Tensor]


@contextmanager
def folded(network: nn.Module, dtype: torch.dtype, *, wanted: bool = True) -> Iterator[None]:
    """Compute every convolution of an `InvertedResidual` and its BatchNorm as one convolution.

    This saves one pass over the widest tensors. Values and gradients, including those of the
    BatchNorm's weights, stay the same as long as the BatchNorms keep their statistics.

    Args:
        network: Network that holds the blocks; restored at the end.
        dtype: Precision of the convolutions.
        wanted: Whether to fold at all.
    """
    blocks = [x for x in network.modules() if wanted and isinstance(x, InvertedResidual)]
    for block in blocks:
        layers = [(_product(conv, norm, dtype), _unchanged) for conv, norm in block.main_path()]
        # This attribute hides the method of the class.
        block.main_path = partial(list, layers)
    try:
        yield
    finally:
        for block in blocks:
            del block.main_path


def _product(conv: nn.Conv2d, norm: nn.BatchNorm2d, dtype: torch.dtype) -> Layer:
    """Return the convolution that equals a convolution and its BatchNorm."""
    if conv.groups > 1 and conv.weight.device.type == "cpu":
        # On a CPU, gradients of depthwise convolutions take 3 to 8 times as long in bfloat16.
        dtype = torch.float32
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    weight = (conv.weight * scale.view(-1, 1, 1, 1)).to(dtype)
    bias = (norm.bias - norm.running_mean * scale).to(dtype)

    def convolve(x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return F.conv2d(
                x.to(dtype), weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups
            )  # fmt: skip

    return convolve


def _unchanged(x: Tensor) -> Tensor:
    return x
