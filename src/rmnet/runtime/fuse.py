"""The network rewritten for inference: the same numbers but for rounding, in fewer passes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rmnet.network import (
    BasicBlock,
    Bottleneck,
    Encoder,
    InvertedResidual,
    MemoryEncoder,
    Refinement,
    ResidualBlock,
    RMNet,
)
from rmnet.ops import PackedBlock, inverted_residual, inverted_residual_obstacle, pack
from rmnet.runtime.convolution import Convolution, folded
from rmnet.runtime.workspace import new_activation, scratch, temporaries


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
            _replace(encoder, **{name: _fused_stage(getattr(encoder, name), convolution, dtype)})
    decoder = result.decoder
    _replace(
        decoder,
        entry=convolution(decoder.entry),
        entry_block=FusedResidualBlock(decoder.entry_block, convolution),
    )
    for name in ("refine8", "refine4"):
        _replace(decoder, **{name: FusedRefinement(getattr(decoder, name), convolution)})
    return result.eval().requires_grad_(False)


class FusedStageBlock(nn.Module):
    """A block of a ResNet's stage."""

    def __init__(
        self, block: BasicBlock | Bottleneck, convolution: Callable[..., Convolution]
    ) -> None:
        super().__init__()
        *inner, self.last = (convolution(conv, norm) for conv, norm in block.main_path())
        self.inner = nn.ModuleList(inner)
        self.shortcut = None if block.downsample is None else convolution(*block.downsample)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, width, H/stride, W/stride), perhaps in the place of the input."""
        shortcut = x if self.shortcut is None else self.shortcut(x)
        with temporaries():
            for conv in self.inner:
                x = conv(x, relu=True)
            return self.last(x, residual=shortcut, relu=True)


class FusedInvertedResidual(nn.Module):
    """A block of an EfficientNet's stage, by PyTorch."""

    def __init__(self, block: InvertedResidual, convolution: Callable[..., Convolution]) -> None:
        super().__init__()
        *activated, self.project = (convolution(conv, norm) for conv, norm in block.main_path())
        self.activated = nn.ModuleList(activated)
        self.stride = block.depthwise.stride[0]
        self.has_shortcut = block.has_shortcut

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, width, H/stride, W/stride), perhaps in the place of the input."""
        residual, out = x if self.has_shortcut else None, None
        if residual is None and self.project.is_product:
            size = (-(-side // self.stride) for side in x.shape[2:])
            out = new_activation((len(x), len(self.project.weight), *size))
        with temporaries():
            for conv in self.activated:
                x = F.relu6(conv(x), inplace=True)
            return self.project(x, residual=residual, out=out)


class NativeStage(nn.Module):
    """A stage of inverted residuals by the native operator, of which only the result is left."""

    def __init__(self, blocks: Iterable[InvertedResidual]) -> None:
        super().__init__()
        self.blocks = [_packed(block) for block in blocks]

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, width, H/stride, W/stride)."""
        shapes: list[Sequence[int]] = [x.shape]
        for block in self.blocks:
            shapes.append(block.output_shape(shapes[-1]))
        result = new_activation(shapes[-1])
        *inner, last = self.blocks
        with temporaries():
            for block, shape in zip(inner, shapes[1:-1], strict=True):
                x = inverted_residual(x, block, out=new_activation(shape), scratch=scratch())
            return inverted_residual(x, last, out=result, scratch=scratch())


def _packed(block: InvertedResidual) -> PackedBlock:
    *expand, depthwise, project = (folded(conv, norm) for conv, norm in block.main_path())
    return pack(
        expand[0] if expand else None,
        depthwise,
        project,
        stride=block.depthwise.stride[0],
        residual=block.has_shortcut,
    )


def _fused_stage(
    stage: nn.Sequential, convolution: Callable[..., Convolution], dtype: torch.dtype
) -> nn.Module:
    inverted = [block for block in stage if isinstance(block, InvertedResidual)]
    residual = [block for block in stage if isinstance(block, BasicBlock | Bottleneck)]
    if residual:
        return nn.Sequential(*(FusedStageBlock(block, convolution) for block in residual))
    if inverted_residual_obstacle(inverted[0].project.weight.device, dtype) is None:
        return NativeStage(inverted)
    return nn.Sequential(*(FusedInvertedResidual(block, convolution) for block in inverted))


class FusedResidualBlock(nn.Module):
    """A block of the decoder."""

    def __init__(self, block: ResidualBlock, convolution: Callable[..., Convolution]) -> None:
        super().__init__()
        self.conv1 = convolution(block.conv1)
        self.conv2 = convolution(block.conv2)

    def forward(self, x: Tensor) -> Tensor:
        """(n, C, H, W) to the same, perhaps in its place."""
        with temporaries():
            return self.conv2(self.conv1(x, relu_input=True, relu=True), residual=x)


class FusedRefinement(nn.Module):
    """A step of the decoder."""

    def __init__(self, step: Refinement, convolution: Callable[..., Convolution]) -> None:
        super().__init__()
        self.skip = convolution(step.skip)
        self.skip_block = FusedResidualBlock(step.skip_block, convolution)
        self.project = None if step.project is None else convolution(step.project)
        self.merge_block = FusedResidualBlock(step.merge_block, convolution)

    def skip_features(self, features: Tensor) -> Tensor:
        """What this step takes from the frame alone; (B, width, H, W)."""
        return self.skip_block(self.skip(features))

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        """Merge coarse (n, C, H/2, W/2) with skip (n or 1, width, H, W)."""
        if self.project is not None:
            coarse = self.project(coarse)
        merged = _doubled(coarse)
        merged += skip  # in place: these are the largest activations that there are
        return self.merge_block(merged)


def _doubled(x: Tensor) -> Tensor:
    """(n, C, H, W) at twice the size, in the workspace if it may be."""
    if x.device.type != "cpu" or x.dtype != torch.float32:
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    *rows, height, width = x.shape
    size = 2 * height, 2 * width
    out = new_activation((*rows, *size))
    return torch.ops.aten.upsample_bilinear2d.out(x, size, align_corners=False, out=out)


def _fold_stem(encoder: Encoder, convolution: Callable[..., Convolution]) -> None:
    """Fold the stem's BatchNorm, which comes after the sum of what image and masks give."""
    norm = encoder.stem_norm
    _replace(encoder, stem=convolution(encoder.stem, norm), stem_norm=nn.Identity())
    if isinstance(encoder.stem_activation, nn.ReLU6):
        # In place: both encoders make the stem's output for this call alone.
        _replace(encoder, stem_activation=nn.ReLU6(inplace=True))
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
