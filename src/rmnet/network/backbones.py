"""The backbones, from the image to f16."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from rmnet.config import RMNetConfig
from rmnet.network.blocks import NORM_EPS, BasicBlock, Bottleneck, InvertedResidual


class Backbone(NamedTuple):
    """Parts in the order of the data flow; `stem` and all stages but 4 halve the resolution."""

    stem: nn.Conv2d
    stem_norm: nn.BatchNorm2d
    stem_activation: nn.Module
    stage4: nn.Sequential
    stage8: nn.Sequential
    stage16: nn.Sequential


# By stage: rows of blocks as (depth, kernel, stride of the first block, expansion, width).
# Source: the first eleven blocks of EfficientNet-Lite0 in tensorflow/tpu.
_EFFICIENTNET_LITE0 = (
    ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24)),
    ((2, 5, 2, 6, 40),),
    ((3, 3, 2, 6, 80), (3, 5, 1, 6, 112)),
)


def build_backbone(config: RMNetConfig) -> Backbone:
    """Build the backbone that a configuration names, with random weights."""
    if config.backbone == "efficientnet_lite0":
        return _build_efficientnet_lite0(config.stem_width)
    block = {"resnet18": BasicBlock, "resnet50": Bottleneck}[config.backbone]
    stages, width_in = [], config.stem_width
    strides = (1, 2, 2)  # the pooling has already halved the input of stage4
    for width, depth, stride in zip(config.stage_widths, config.stage_depths, strides, strict=True):
        first = block(width_in, width, stride=stride)
        stages.append(nn.Sequential(first, *(block(width, width) for _ in range(depth - 1))))
        width_in = width
    return Backbone(
        nn.Conv2d(3, config.stem_width, kernel_size=7, stride=2, padding=3, bias=False),
        nn.BatchNorm2d(config.stem_width),
        # In this order the rectifier sees a quarter of the pixels; the result is the same.
        nn.Sequential(nn.MaxPool2d(kernel_size=3, stride=2, padding=1), nn.ReLU(inplace=True)),
        *stages,
    )


def _build_efficientnet_lite0(stem_width: int) -> Backbone:
    stages, width_in = [], stem_width
    for groups in _EFFICIENTNET_LITE0:
        stage = nn.Sequential()
        for depth, kernel, stride, expansion, width in groups:
            for block_stride in (stride, *[1] * (depth - 1)):
                block = InvertedResidual(
                    width_in, width, kernel=kernel, stride=block_stride, expansion=expansion
                )
                stage.append(block)
                width_in = width
        stages.append(stage)
    return Backbone(
        nn.Conv2d(3, stem_width, kernel_size=3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(stem_width, eps=NORM_EPS),
        nn.ReLU6(inplace=True),
        *stages,
    )
