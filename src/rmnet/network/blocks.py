"""Residual blocks of the encoders."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

BOTTLENECK = 4  # ratio of a Bottleneck's outer width to its inner width
NORM_EPS = 1e-3  # epsilon of an InvertedResidual's BatchNorms. Source: EfficientNet

ConvNorm = tuple[nn.Conv2d, nn.BatchNorm2d]


class ResNetBlock(nn.Module):
    """Convolutions with BatchNorms and ReLUs; the last ReLU follows the sum with the shortcut.

    Parameters have torchvision's names. Source: He et al., "Deep residual learning", CVPR 2016.
    """

    downsample: nn.Sequential | None

    def main_path(self) -> list[ConvNorm]:
        """Return the convolutions in order, each with the BatchNorm that follows it."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width_in, H, W) to (B, width, H/stride, W/stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        *inner, (last, last_norm) = self.main_path()
        for conv, norm in inner:
            x = F.relu(norm(conv(x)), inplace=True)
        return F.relu(last_norm(last(x)) + shortcut, inplace=True)


class BasicBlock(ResNetBlock):
    """Two 3x3 convolutions."""

    def __init__(self, width_in: int, width: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = _conv(width_in, width, 3, stride=stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _downsample(width_in, width, stride)

    def main_path(self) -> list[ConvNorm]:
        """See `ResNetBlock.main_path`."""
        return [(self.conv1, self.bn1), (self.conv2, self.bn2)]


class Bottleneck(ResNetBlock):
    """A 3x3 convolution between two 1x1 convolutions, a quarter as wide as the block."""

    def __init__(self, width_in: int, width: int, *, stride: int = 1) -> None:
        super().__init__()
        inner = width // BOTTLENECK
        self.conv1 = _conv(width_in, inner, 1)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = _conv(inner, inner, 3, stride=stride)  # as in the released checkpoints
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = _conv(inner, width, 1)
        self.bn3 = nn.BatchNorm2d(width)
        self.downsample = _downsample(width_in, width, stride)

    def main_path(self) -> list[ConvNorm]:
        """See `ResNetBlock.main_path`."""
        return [(self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)]


class InvertedResidual(nn.Module):
    """Expand, filter each channel by itself, project; add the input where the shapes agree.

    ReLU6 follows the first two convolutions; there is no expansion by 1.
    Source: Sandler et al., "MobileNetV2", CVPR 2018.
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
        """See `ResNetBlock.main_path`."""
        layers = [(self.depthwise, self.depthwise_norm), (self.project, self.project_norm)]
        if self.expand is not None and self.expand_norm is not None:
            layers.insert(0, (self.expand, self.expand_norm))
        return layers

    def forward(self, x: Tensor) -> Tensor:
        """See `ResNetBlock.forward`."""
        shortcut = x
        *activated, (project, project_norm) = self.main_path()
        for conv, norm in activated:
            x = F.relu6(norm(conv(x)), inplace=True)
        x = project_norm(project(x))
        return shortcut + x if self.has_shortcut else x


def _conv(width_in: int, width: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(
        width_in, width, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False
    )


def _downsample(width_in: int, width: int, stride: int) -> nn.Sequential | None:
    """Return the shortcut of a ResNet block whose output differs in shape from its input."""
    if stride == 1 and width_in == width:
        return None
    return nn.Sequential(_conv(width_in, width, 1, stride=stride), nn.BatchNorm2d(width))
