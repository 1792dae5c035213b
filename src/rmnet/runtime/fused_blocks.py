"""The blocks of the encoders and the decoder, rewritten for inference.

BatchNorms are folded into the convolutions before them, rectifiers and sums into the convolutions
around them. Results may lie in the workspace.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rmnet.network import InvertedResidual, Refinement, ResidualBlock, ResNetBlock
from rmnet.ops import PackedBlock, inverted_residual, inverted_residual_obstacle, pack
from rmnet.runtime.convolution import Convolution, folded
from rmnet.runtime.workspace import new_activation, scratch, temporaries

Fuse = Callable[..., Convolution]  # of a convolution, and a BatchNorm if one follows it


def fused_stage(stage: nn.Sequential, fuse: Fuse, dtype: torch.dtype) -> nn.Module:
    """Return a stage (B, C, H, W) to (B, width, H/stride, W/stride); its input stays as it is."""
    inverted = [block for block in stage if isinstance(block, InvertedResidual)]
    if inverted and inverted_residual_obstacle(inverted[0].project.weight.device, dtype) is None:
        return NativeStage(inverted)
    fused = nn.Sequential(*(FusedInvertedResidual(block, fuse) for block in inverted))
    for block in stage:
        if isinstance(block, ResNetBlock):
            fused.append(FusedResNetBlock(block, fuse, in_place=len(fused) > 0))
    return fused


class FusedResNetBlock(nn.Module):
    """A block of a ResNet stage; `in_place` lets the result take the memory of the input."""

    def __init__(self, block: ResNetBlock, fuse: Fuse, *, in_place: bool) -> None:
        super().__init__()
        self.in_place = in_place
        *inner, last = (fuse(conv, norm) for conv, norm in block.main_path())
        self.inner, self.last = nn.ModuleList(inner), last
        self.shortcut = None if block.downsample is None else fuse(*block.downsample)

    def forward(self, x: Tensor) -> Tensor:
        """See `ResNetBlock.forward`."""
        residual = x if self.shortcut is None else self.shortcut(x)
        out = residual
        if out is x and not self.in_place:
            out = self.last.new_output(x.shape)
        with temporaries():
            for conv in self.inner:
                x = conv(x, relu=True)
            return self.last(x, residual=residual, relu=True, out=out)


class FusedInvertedResidual(nn.Module):
    """A block of an EfficientNet stage, by PyTorch."""

    def __init__(self, block: InvertedResidual, fuse: Fuse) -> None:
        super().__init__()
        *activated, project = (fuse(conv, norm) for conv, norm in block.main_path())
        self.activated, self.project = nn.ModuleList(activated), project
        self.has_shortcut = block.has_shortcut

    def forward(self, x: Tensor) -> Tensor:
        """See `InvertedResidual.forward`."""
        residual = x if self.has_shortcut else None
        for conv in self.activated:
            x = F.relu6(conv(x), inplace=True)
        return self.project(x, residual=residual)


class NativeStage(nn.Module):
    """A stage of inverted residuals by the native operator; only its result is kept."""

    def __init__(self, blocks: Sequence[InvertedResidual]) -> None:
        super().__init__()
        self.blocks: list[PackedBlock] = []
        for block in blocks:
            *expand, depthwise, project = (folded(conv, norm) for conv, norm in block.main_path())
            first, stride = expand[0] if expand else None, block.depthwise.stride[0]
            packed = pack(first, depthwise, project, stride=stride, residual=block.has_shortcut)
            self.blocks.append(packed)

    def forward(self, x: Tensor) -> Tensor:
        """See `fused_stage`."""
        shapes: list[Sequence[int]] = [x.shape]
        for block in self.blocks:
            shapes.append(block.output_shape(shapes[-1]))
        result = new_activation(shapes[-1])
        *inner, last = self.blocks
        with temporaries():
            for block, shape in zip(inner, shapes[1:-1], strict=True):
                x = inverted_residual(x, block, out=new_activation(shape), scratch=scratch())
            return inverted_residual(x, last, out=result, scratch=scratch())


class FusedResidualBlock(nn.Module):
    """A residual block of the decoder; the result may take the memory of the input."""

    def __init__(self, block: ResidualBlock, fuse: Fuse) -> None:
        super().__init__()
        self.conv1, self.conv2 = fuse(block.conv1), fuse(block.conv2)

    def forward(self, x: Tensor) -> Tensor:
        """See `ResidualBlock.forward`."""
        with temporaries():
            return self.conv2(self.conv1(x, relu_input=True, relu=True), residual=x, out=x)


class FusedRefinement(nn.Module):
    """A refinement step of the decoder."""

    def __init__(self, step: Refinement, fuse: Fuse) -> None:
        super().__init__()
        self.skip = fuse(step.skip)
        self.skip_block = FusedResidualBlock(step.skip_block, fuse)
        self.project = None if step.project is None else fuse(step.project)
        self.merge_block = FusedResidualBlock(step.merge_block, fuse)

    def skip_features(self, features: Tensor) -> Tensor:
        """See `Refinement.skip_features`."""
        return self.skip_block(self.skip(features))

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        """See `Refinement.forward`."""
        if self.project is not None:
            coarse = self.project(coarse)
        merged = _doubled(coarse)
        merged += skip  # in place, as the block below: there are no larger activations
        return self.merge_block(merged)


def _doubled(x: Tensor) -> Tensor:
    """Enlarge (n, C, H, W) to twice the size, into the workspace where possible."""
    if x.device.type != "cpu" or x.dtype != torch.float32:
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    *rows, height, width = x.shape
    size = 2 * height, 2 * width
    out = new_activation((*rows, *size))
    return torch.ops.aten.upsample_bilinear2d.out(x, size, align_corners=False, out=out)
