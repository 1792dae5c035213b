"""A convolution together with what stands around it, for inference."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from rmnet.ops.convolution import conv3x3, fits, pack, why_pytorch


class Convolution(nn.Module):
    """relu(conv(relu(x)) + residual), whichever of the rectifiers and the sum are asked for.

    By the native operator where that is faster, else by PyTorch.

    Args:
        conv: Its weights are shared, not copied, unless they have to be changed.
        norm: What follows it, if anything; its stored statistics become part of the weights.
        dtype: Precision of the computation.
    """

    def __init__(
        self, conv: nn.Conv2d, norm: nn.BatchNorm2d | None = None, *, dtype: torch.dtype
    ) -> None:
        super().__init__()
        conv = conv if norm is None else _folded(conv, norm)
        weight = conv.weight
        by_pytorch = why_pytorch(weight.device, dtype, conv.in_channels, conv.out_channels)
        self.is_native = by_pytorch is None and fits(conv)
        self.weight = pack(weight) if self.is_native else weight.detach()
        self.bias = None if conv.bias is None else conv.bias.detach()
        self.out_channels = conv.out_channels
        self.stride, self.padding = conv.stride, conv.padding

    def forward(
        self,
        x: Tensor,
        *,
        relu_input: bool = False,
        residual: Tensor | None = None,
        relu: bool = False,
    ) -> Tensor:
        """(B, C, H, W) to (B, K, H', W'); `residual` is of the result's shape."""
        if self.is_native:
            return conv3x3(
                x,
                self.weight,
                self.out_channels,
                bias=self.bias,
                residual=residual,
                relu_input=relu_input,
                relu_output=relu,
            )
        x = F.relu(x) if relu_input else x
        y = F.conv2d(x, self.weight, self.bias, self.stride, self.padding)
        if residual is not None:
            y += residual
        return F.relu(y, inplace=True) if relu else y


def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """A convolution and the BatchNorm after it, as one."""
    kind = conv.weight.dtype
    # In float64, so that nothing is lost but the last rounding.
    exact_conv, exact_norm = copy.deepcopy(conv).double(), copy.deepcopy(norm).double()
    folded = fuse_conv_bn_eval(exact_conv.eval(), exact_norm.eval())
    return folded.to(kind).to(memory_format=torch.channels_last)
