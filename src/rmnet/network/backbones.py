"""The backbones, to stride 16: what stands between an image and f16."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from rmnet.config import RMNetConfig
from rmnet.network.blocks import NORM_EPS, BasicBlock, Bottleneck, InvertedResidual


class Backbone(NamedTuple):
    """Parts in the order that data flows; `stem` and all stages but 4 halve the resolution."""

    stem: nn.Conv2d
    stem_norm: nn.BatchNorm2d
    stem_activation: nn.Module
    stage4: nn.Sequential
    stage8: nn.Sequential
    stage16: nn.Sequential


class BlockGroup(NamedTuple):
    """Inverted residuals of one shape in a row, of which the first has the stride."""

    depth: int
    kernel: int
    stride: int
    expansion: int
    width: int


# By the stage they are in. Source: the EfficientNet-Lite0 of tensorflow/tpu, its first eleven
# blocks; the stem has 32 channels.
_EFFICIENTNET_LITE0 = (
    (BlockGroup(1, 3, 1, 1, 16), BlockGroup(2, 3, 2, 6, 24)),
    (BlockGroup(2, 5, 2, 6, 40),),
    (BlockGroup(3, 3, 2, 6, 80), BlockGroup(3, 5, 1, 6, 112)),
)


class PooledReLU(nn.Module):
    """What follows the stem of a ResNet: (B, C, H, W) to (B, C, H/2, W/2)."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Rectify and take the maximum of every 3x3."""
        # The maximum first: the rectifier then has a quarter of the pixels, and the same result.
        return F.relu(self.pool(x), inplace=True)


def build_backbone(config: RMNetConfig) -> Backbone:
    """Build the backbone that a configuration names, of random weights."""
    if config.backbone == "efficientnet_lite0":
        return _build_efficientnet_lite0(config.stem_width)
    return _build_resnet(config)


def _build_resnet(config: RMNetConfig) -> Backbone:
    block = {"resnet18": BasicBlock, "resnet50": Bottleneck}[config.backbone]
    stages, width_in = [], config.stem_width
    strides = (1, 2, 2)  # the pooling has already halved what stage4 sees
    for width, depth, stride in zip(config.stage_widths, config.stage_depths, strides, strict=True):
        first = block(width_in, width, stride=stride)
        stages.append(nn.Sequential(first, *(block(width, width) for _ in range(depth - 1))))
        width_in = width
    return Backbone(
        nn.Conv2d(3, config.stem_width, kernel_size=7, stride=2, padding=3, bias=False),
        nn.BatchNorm2d(config.stem_width),
        PooledReLU(),
        *stages,
    )


def _build_efficientnet_lite0(stem_width: int) -> Backbone:
    stages, width_in = [], stem_width
    for groups in _EFFICIENTNET_LITE0:
        blocks = []
        for depth, kernel, stride, expansion, width in groups:
            for number in range(depth):
                blocks.append(
                    InvertedResidual(
                        width_in,
                        width,
                        kernel=kernel,
                        stride=stride if number == 0 else 1,
                        expansion=expansion,
                    )
                )
                width_in = width
        stages.append(nn.Sequential(*blocks))
    return Backbone(
        nn.Conv2d(3, stem_width, kernel_size=3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(stem_width, eps=NORM_EPS),
        nn.ReLU6(),
        *stages,
    )
