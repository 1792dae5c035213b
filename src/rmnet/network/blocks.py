"""The residual blocks that encoders are built of.

Parameters of `BasicBlock` and `Bottleneck` are named as in torchvision, so that its weights load.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

BOTTLENECK = 4  # a Bottleneck is so many times as wide outside as inside
NORM_EPS = 1e-3  # of an InvertedResidual's BatchNorms. Source: EfficientNet

ConvNorm = tuple[nn.Conv2d, nn.BatchNorm2d]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions. Source: He et al., "Deep residual learning", CVPR 2016."""

    def __init__(self, width_in: int, width: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = _conv(width_in, width, 3, stride=stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _downsample(width_in, width, stride)

    def main_path(self) -> list[ConvNorm]:
        """Convolutions in order, each with the BatchNorm that follows it."""
        return [(self.conv1, self.bn1), (self.conv2, self.bn2)]

    def forward(self, x: Tensor) -> Tensor:
        """(B, width_in, H, W) to (B, width, H/stride, W/stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(y)) + shortcut, inplace=True)


class Bottleneck(nn.Module):
    """A 3x3 convolution between two of 1x1, a quarter as wide as the block.

    Source: He et al., "Deep residual learning", CVPR 2016; with the stride in the 3x3, as in
    torchvision and the released checkpoints.
    """

    def __init__(self, width_in: int, width: int, *, stride: int = 1) -> None:
        super().__init__()
        inner = width // BOTTLENECK
        self.conv1 = _conv(width_in, inner, 1)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = _conv(inner, inner, 3, stride=stride)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = _conv(inner, width, 1)
        self.bn3 = nn.BatchNorm2d(width)
        self.downsample = _downsample(width_in, width, stride)

    def main_path(self) -> list[ConvNorm]:
        """Convolutions in order, each with the BatchNorm that follows it."""
        return [(self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)]

    def forward(self, x: Tensor) -> Tensor:
        """(B, width_in, H, W) to (B, width, H/stride, W/stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        return F.relu(self.bn3(self.conv3(y)) + shortcut, inplace=True)


class InvertedResidual(nn.Module):
    """Expand, filter each channel by itself, project; add the input where shapes agree.

    Source: Sandler et al., "MobileNetV2", CVPR 2018. ReLU6 after the first two, nothing after the
    projection.

    Args:
        width_in: Channels in.
        width: Channels out.
        kernel: Side of the depthwise filters, odd.
        stride: Stride of the depthwise filters.
        expansion: Channels between, as a multiple of `width_in`; 1 leaves the expansion out.
    """

    def __init__(
        self, width_in: int, width: int, *, kernel: int, stride: int, expansion: int
    ) -> None:
        super().__init__()
        inner = expansion * width_in
        self.expand = self.expand_norm = None
        if expansion != 1:
            self.expand = _conv(width_in, inner, 1)
            self.expand_norm = nn.BatchNorm2d(inner, eps=NORM_EPS)
        self.depthwise = _conv(inner, inner, kernel, stride=stride, groups=inner)
        self.depthwise_norm = nn.BatchNorm2d(inner, eps=NORM_EPS)
        self.project = _conv(inner, width, 1)
        self.project_norm = nn.BatchNorm2d(width, eps=NORM_EPS)
        self.has_shortcut = stride == 1 and width_in == width

    def main_path(self) -> list[ConvNorm]:
        """Convolutions in order, each with the BatchNorm that follows it."""
        layers = [(self.depthwise, self.depthwise_norm), (self.project, self.project_norm)]
        if self.expand is not None and self.expand_norm is not None:
            layers.insert(0, (self.expand, self.expand_norm))
        return layers

    def forward(self, x: Tensor) -> Tensor:
        """(B, width_in, H, W) to (B, width, H/stride, W/stride)."""
        y = x
        *activated, (project, project_norm) = self.main_path()
        for conv, norm in activated:
            y = F.relu6(norm(conv(y)), inplace=True)
        y = project_norm(project(y))
        return x + y if self.has_shortcut else y


def _conv(width_in: int, width: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(
        width_in, width, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False
    )


def _downsample(width_in: int, width: int, stride: int) -> nn.Sequential | None:
    """Shortcut of a ResNet's block whose input has another shape than its output."""
    if stride == 1 and width_in == width:
        return None
    return nn.Sequential(_conv(width_in, width, 1, stride=stride), nn.BatchNorm2d(width))
