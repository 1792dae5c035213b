"""A convolution fused with the BatchNorm, sum and rectifiers around it, for inference."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rmnet.ops import conv3x3, conv3x3_obstacle, fits_conv3x3
from rmnet.runtime.workspace import new_activation, scratch


class Convolution(nn.Module):
    """relu(conv(relu(x)) + residual), with the rectifiers and the sum that a call asks for.

    Runs as the native operator where that is faster, as a matrix product if it is one, else in
    PyTorch. Weights are shared unless a BatchNorm that follows changes them.
    """

    def __init__(
        self, conv: nn.Conv2d, norm: nn.BatchNorm2d | None = None, *, dtype: torch.dtype
    ) -> None:
        super().__init__()
        weight = conv.weight.detach()
        by_pytorch = conv3x3_obstacle(weight.device, dtype, conv.in_channels, conv.out_channels)
        self.is_native = by_pytorch is None and fits_conv3x3(conv)
        is_pointwise = conv.kernel_size == (1, 1) and conv.stride == (1, 1) and conv.groups == 1
        self.is_product = by_pytorch is None and is_pointwise
        self.weight, self.scale = weight, None
        self.bias = None if conv.bias is None else conv.bias.detach()
        if norm is not None and (self.is_native or self.is_product):
            self.scale, self.bias = _scale_and_bias(conv, norm)
        elif norm is not None:
            self.weight, self.bias = folded(conv, norm)
        self.stride, self.padding, self.groups = conv.stride, conv.padding, conv.groups

    def forward(
        self,
        x: Tensor,
        *,
        relu_input: bool = False,
        residual: Tensor | None = None,
        relu: bool = False,
        out: Tensor | None = None,
    ) -> Tensor:
        """Map (B, C, H, W) to (B, K, H', W').

        The result may take the memory of `out`, which may be `residual` but not `x`; its contents
        are lost. None takes memory from the workspace.
        """
        if self.is_native:
            return conv3x3(
                x,
                self.weight,
                scale=self.scale,
                bias=self.bias,
                residual=residual,
                relu_input=relu_input,
                relu_output=relu,
                out=self.new_output(x.shape) if out is None else out,
                scratch=scratch(),
            )
        x = F.relu(x) if relu_input else x
        if self.is_product:
            y = self._multiply(x, residual, out)
        else:
            y = F.conv2d(x, self.weight, self.bias, self.stride, self.padding, groups=self.groups)
            if residual is not None:
                y += residual
        return F.relu(y, inplace=True) if relu else y

    def new_output(self, input_shape: torch.Size) -> Tensor | None:
        """Take memory for a result from the workspace; None where PyTorch allocates it itself."""
        if not (self.is_native or self.is_product):
            return None
        return new_activation((input_shape[0], len(self.weight), *input_shape[2:]))

    def _multiply(self, x: Tensor, residual: Tensor | None, out: Tensor | None) -> Tensor:
        """Multiply pixels by weights."""
        weight = self.weight.flatten(1)
        weight = weight if self.scale is None else weight * self.scale[:, None]
        out = cast("Tensor", self.new_output(x.shape)) if out is None else out
        # Views of channels-last images. Of other layouts they are copies, and so is the result.
        pixels, sums = (image.movedim(1, -1).flatten(0, -2) for image in (x, out))
        if residual is None:
            torch.mm(pixels, weight.T, out=sums)
        else:
            summand = sums if residual is out else residual.movedim(1, -1).flatten(0, -2)
            torch.addmm(summand, pixels, weight.T, out=sums)
        if self.bias is not None:
            sums += self.bias
        batch, _, *size = x.shape
        return sums.view(batch, *size, -1).movedim(-1, 1)


def folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return the weight (K, C, k, k) and the bias (K,) of a convolution with its BatchNorm."""
    scale, bias = _scale_and_bias(conv, norm)
    weight = conv.weight.detach() * scale[:, None, None, None]
    return weight.contiguous(memory_format=torch.channels_last), bias


def _scale_and_bias(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return a BatchNorm's factor on a convolution's weight, and the bias of both: (K,), (K,)."""
    # In float64, so that nothing is lost but the last rounding.
    mean, variance = (cast("Tensor", x).double() for x in (norm.running_mean, norm.running_var))
    gain, shift = norm.weight.detach().double(), norm.bias.detach().double()
    scale = gain / (variance + norm.eps).sqrt()
    bias = -mean if conv.bias is None else conv.bias.detach().double() - mean
    return scale.to(norm.weight.dtype), (bias * scale + shift).to(norm.weight.dtype)
