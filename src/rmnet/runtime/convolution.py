"""A convolution together with what stands around it, for inference."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rmnet.ops import conv3x3, conv3x3_obstacle, fits
from rmnet.runtime.workspace import new_activation, scratch


class Convolution(nn.Module):
    """relu(conv(relu(x)) + residual), whichever of the rectifiers and the sum are asked for.

    By the native operator where that is faster, as a matrix product if it is one, else by
    PyTorch.

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
        by_pytorch = conv3x3_obstacle(weight.device, dtype, conv.in_channels, conv.out_channels)
        self.is_native = by_pytorch is None and fits(conv)
        self.is_product = by_pytorch is None and _is_pointwise(conv)
        self.bias = None if conv.bias is None else conv.bias.detach()
        self.scale = None
        if norm is not None:
            self.scale, self.bias = _as_scale_and_bias(norm, self.bias)
            if not (self.is_native or self.is_product):
                weight, self.scale = _scaled(weight, self.scale), None
        self.weight = weight
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
        """(B, C, H, W) to (B, K, H', W'), perhaps in the workspace.

        The result may be written to `residual`, of its shape, or else, without one, to `out`.
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
                out=self._room(x, out) if residual is None else residual,
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

    def _multiply(self, x: Tensor, residual: Tensor | None, out: Tensor | None) -> Tensor:
        """Multiply pixels by weights, straight onto what is to be added."""
        weight = self.weight.flatten(1)
        weight = weight if self.scale is None else weight * self.scale[:, None]
        y = (self._room(x, out) if residual is None else residual).movedim(1, -1)
        # Views, but for images that are laid out in other ways: then what is returned is a copy.
        pixels, sums = x.movedim(1, -1).flatten(0, -2), y.flatten(0, -2)
        if residual is None:
            torch.mm(pixels, weight.T, out=sums)
        else:
            sums.addmm_(pixels, weight.T)
        if self.bias is not None:
            sums += self.bias
        return sums.view(y.shape).movedim(-1, 1)

    def _room(self, x: Tensor, out: Tensor | None) -> Tensor:
        if out is not None:
            return out
        return new_activation((len(x), len(self.weight), *x.shape[2:]))


def folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return the weight (K, C, k, k) and the bias (K,) of a convolution with its BatchNorm."""
    bias = None if conv.bias is None else conv.bias.detach()
    scale, bias = _as_scale_and_bias(norm, bias)
    return _scaled(conv.weight.detach(), scale), bias


def _is_pointwise(conv: nn.Conv2d) -> bool:
    return conv.kernel_size == (1, 1) and conv.stride == (1, 1) and conv.groups == 1


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
