"""The network rewritten for inference: the same numbers but for rounding, in fewer passes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from rmnet.network.convolution import Convolution
from rmnet.network.decoder import ResidualBlock
from rmnet.network.encoders import Encoder, MemoryEncoder
from rmnet.network.rmnet import RMNet


def fused(network: RMNet, dtype: torch.dtype) -> RMNet:
    """A copy for inference only; weights that need not change are shared, not copied.

    BatchNorm goes into the convolution before it, rectifiers and sums into the one around them,
    and wide 3x3 convolutions to the native operator.

    Args:
        network: Stays as it is, to be saved.
        dtype: Precision of the computation to come.
    """
    convolution = partial(Convolution, dtype=dtype)
    shared = [*network.parameters(), *network.buffers()]
    result = copy.deepcopy(network, {id(tensor): tensor for tensor in shared})
    for head in (result.query_head, result.memory_head):
        _replace(head, key=convolution(head.key), value=convolution(head.value))
    for encoder in (result.query_encoder, result.memory_encoder):
        _fold_stem(encoder, convolution)
        for name in ("stage4", "stage8", "stage16"):
            blocks = (FusedStageBlock(block, convolution) for block in getattr(encoder, name))
            _replace(encoder, **{name: nn.Sequential(*blocks)})
    decoder = result.decoder
    _replace(
        decoder,
        entry=convolution(decoder.entry),
        entry_block=FusedResidualBlock(decoder.entry_block, convolution),
    )
    for step in (decoder.refine8, decoder.refine4):
        _replace(
            step,
            skip=convolution(step.skip),
            skip_block=FusedResidualBlock(step.skip_block, convolution),
            merge_block=FusedResidualBlock(step.merge_block, convolution),
        )
    return result.eval().requires_grad_(False)


class FusedStageBlock(nn.Module):
    """A block of a ResNet's stage."""

    def __init__(
        self,
        block: Any,  # noqa: ANN401 torchvision's BasicBlock or Bottleneck
        convolution: Callable[..., Convolution],
    ) -> None:
        super().__init__()
        pairs = [(f"conv{i}", f"bn{i}") for i in (1, 2, 3) if hasattr(block, f"conv{i}")]
        *inner, self.last = (
            convolution(getattr(block, conv), getattr(block, norm)) for conv, norm in pairs
        )
        self.inner = nn.ModuleList(inner)
        self.shortcut = None if block.downsample is None else convolution(*block.downsample)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, width, H/stride, W/stride)."""
        shortcut = x if self.shortcut is None else self.shortcut(x)
        for conv in self.inner:
            x = conv(x, relu=True)
        return self.last(x, residual=shortcut, relu=True)


class FusedResidualBlock(nn.Module):
    """A block of the decoder."""

    def __init__(self, block: ResidualBlock, convolution: Callable[..., Convolution]) -> None:
        super().__init__()
        self.conv1 = convolution(block.conv1)
        self.conv2 = convolution(block.conv2)

    def forward(self, x: Tensor) -> Tensor:
        """(n, C, H, W) to the same, perhaps in its place."""
        return self.conv2(self.conv1(x, relu_input=True, relu=True), residual=x)


def _fold_stem(encoder: Encoder, convolution: Callable[..., Convolution]) -> None:
    """Fold the stem's BatchNorm, which comes after the sum of what image and masks give."""
    norm = encoder.stem_norm
    _replace(encoder, stem=convolution(encoder.stem, norm), stem_norm=nn.Identity())
    if isinstance(encoder, MemoryEncoder):
        scale = _without_shift(norm)
        _replace(encoder, mask_stem=convolution(encoder.mask_stem, scale))
        if encoder.others_stem is not None:
            _replace(encoder, others_stem=convolution(encoder.others_stem, scale))


def _without_shift(norm: nn.BatchNorm2d) -> nn.BatchNorm2d:
    """The same scale, and nothing added: a sum is shifted once."""
    scale_only = copy.deepcopy(norm).requires_grad_(False)
    for shift in (cast("Tensor", scale_only.running_mean), scale_only.bias):
        shift.zero_()
    return scale_only


def _replace(module: nn.Module, **parts: nn.Module) -> None:
    """Put other kinds of modules in the place of some, which annotations do not foresee."""
    for name, part in parts.items():
        setattr(module, name, part)
