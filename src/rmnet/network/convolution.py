"""A convolution together with what stands around it, for inference."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights


class Convolution(nn.Module):
    """relu(conv(relu(x)) + residual), whichever of the rectifiers and the sum are asked for.

    Args:
        conv: Its weights are shared, not copied, unless a BatchNorm follows.
        norm: What follows it, if anything; its stored statistics become part of the weights.
    """

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d | None = None) -> None:
        super().__init__()
        self.weight, self.bias = (conv.weight, conv.bias) if norm is None else _folded(conv, norm)
        self.stride = conv.stride
        self.padding = conv.padding

    def forward(
        self,
        x: Tensor,
        *,
        relu_input: bool = False,
        residual: Tensor | None = None,
        relu: bool = False,
    ) -> Tensor:
        """(B, C, H, W) to (B, K, H', W'); `residual` is of the result's shape."""
        x = F.relu(x) if relu_input else x
        y = F.conv2d(x, self.weight, self.bias, self.stride, self.padding)
        if residual is not None:
            y += residual
        return F.relu(y, inplace=True) if relu else y


def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[nn.Parameter, nn.Parameter]:
    """Weight and bias of a convolution and the BatchNorm after it, as one."""
    mean, variance = cast("Tensor", norm.running_mean), cast("Tensor", norm.running_var)
    # In float64, so that nothing is lost but the last rounding.
    weight, bias = fuse_conv_bn_weights(
        conv.weight.detach().double(),
        None if conv.bias is None else conv.bias.detach().double(),
        mean.double(),
        variance.double(),
        norm.eps,
        norm.weight.detach().double(),
        norm.bias.detach().double(),
    )
    return (
        nn.Parameter(
            weight.to(conv.weight.dtype, memory_format=torch.channels_last), requires_grad=False
        ),
        nn.Parameter(bias.to(conv.weight.dtype), requires_grad=False),
    )
