"""A convolution together with what stands around it, for inference."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rmnet.ops.convolution import conv3x3, fits, why_pytorch


class Convolution(nn.Module):
    """relu(conv(relu(x)) + residual), whichever of the rectifiers and the sum are asked for.

    By the native operator where that is faster, else by PyTorch.

    Args:
        conv: Its weights are shared, not copied, unless they have to be changed.
        norm: What follows it, if anything; its stored statistics become a scale and a bias.
        dtype: Precision of the computation.
    """

    def __init__(
        self, conv: nn.Conv2d, norm: nn.BatchNorm2d | None = None, *, dtype: torch.dtype
    ) -> None:
        super().__init__()
        weight = conv.weight.detach()
        by_pytorch = why_pytorch(weight.device, dtype, conv.in_channels, conv.out_channels)
        self.is_native = by_pytorch is None and fits(conv)
        self.bias = None if conv.bias is None else conv.bias.detach()
        self.scale = None
        if norm is not None:
            self.scale, self.bias = _as_scale_and_bias(norm, self.bias)
            if not self.is_native:  # PyTorch's has no scale
                weight, self.scale = _scaled(weight, self.scale), None
        self.weight = weight
        self.stride, self.padding = conv.stride, conv.padding

    def forward(
        self,
        x: Tensor,
        *,
        relu_input: bool = False,
        residual: Tensor | None = None,
        relu: bool = False,
    ) -> Tensor:
        """(B, C, H, W) to (B, K, H', W'); `residual`, of that shape, may be overwritten."""
        if self.is_native:
            return conv3x3(
                x,
                self.weight,
                scale=self.scale,
                bias=self.bias,
                residual=residual,
                relu_input=relu_input,
                relu_output=relu,
                out=residual,
            )
        x = F.relu(x) if relu_input else x
        y = F.conv2d(x, self.weight, self.bias, self.stride, self.padding)
        if residual is not None:
            y += residual
        return F.relu(y, inplace=True) if relu else y


def _as_scale_and_bias(norm: nn.BatchNorm2d, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """What a BatchNorm does to a convolution, two vectors (K,).

    In float64, so that nothing is lost but the last rounding.
    """
    mean, variance = (cast("Tensor", x).double() for x in (norm.running_mean, norm.running_var))
    gain, shift = norm.weight.detach().double(), norm.bias.detach().double()
    scale = gain / (variance + norm.eps).sqrt()
    offset = (-mean if bias is None else bias.double() - mean) * scale + shift
    return scale.to(norm.weight.dtype), offset.to(norm.weight.dtype)


def _scaled(weight: Tensor, scale: Tensor) -> Tensor:
    scaled = weight * scale[:, None, None, None]
    return scaled.contiguous(memory_format=torch.channels_last)
