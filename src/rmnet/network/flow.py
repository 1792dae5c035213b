"""TinyFlowNet: the motion of every pixel since the previous frame."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rmnet.config import FLOW_STRIDE, RMNetConfig
from rmnet.geometry import Padding

LEAK = 0.1  # slope of the leaky ReLUs. Source: FlowNetS


class TinyFlowNet(nn.Module):
    """FlowNetS without its last stage, on frames of half size. Source: the paper, section 3.4."""

    def __init__(self, config: RMNetConfig) -> None:
        super().__init__()
        w2, w4, w8, w16, w32 = config.flow_widths
        self.conv1 = _down(6, w2, kernel=7)
        self.conv2 = _down(w2, w4, kernel=5)
        self.conv3 = _down(w4, w8, kernel=5)
        self.conv3_1 = _same(w8, w8)
        self.conv4 = _down(w8, w16, kernel=3)
        self.conv4_1 = _same(w16, w16)
        self.conv5 = _down(w16, w32, kernel=3)
        self.conv5_1 = _same(w32, w32)
        # Input of a level: its encoder features, the coarser level's, and the coarser flow (2).
        joined16, joined8, joined4 = w16 + w8 + 2, w8 + w4 + 2, w4 + w2 + 2
        self.deconv4 = _up(w32, w8)
        self.deconv3 = _up(joined16, w4)
        self.deconv2 = _up(joined8, w2)
        self.predict5 = _same(w32, 2)
        self.predict4 = _same(joined16, 2)
        self.predict3 = _same(joined8, 2)
        self.predict2 = _same(joined4, 2)
        self.enlarge5 = _up(2, 2, bias=False)
        self.enlarge4 = _up(2, 2, bias=False)
        self.enlarge3 = _up(2, 2, bias=False)

    def forward(self, image: Tensor, previous: Tensor) -> Tensor:
        """Estimate the flow from `image` (B, 3, H, W) to `previous`: (B, 2, H, W) px, x first."""
        padding = Padding.to_multiple((image.shape[-2], image.shape[-1]), FLOW_STRIDE)
        half = torch.cat([_padded_and_halved(x, padding) for x in (image, previous)], dim=1)
        # Plane by plane in memory: enlarging two interleaved channels is slow.
        finest = self.pyramid(half)[0].float().contiguous()
        # Enlarged in space only: the network already counts full-size pixels.
        flow = F.interpolate(finest, scale_factor=8, mode="bilinear", align_corners=False)
        return padding.remove(flow)

    def pyramid(self, pair: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Estimate flows at strides 4, 8, 16 and 32 of a pair (B, 6, H, W); 32 divides H and W.

        Each is (B, 2, H/stride, W/stride), in pixels of the frame *before* it was halved.
        """
        c2 = _leaky(self.conv2(_leaky(self.conv1(pair))))
        c3 = _leaky(self.conv3_1(_leaky(self.conv3(c2))))
        c4 = _leaky(self.conv4_1(_leaky(self.conv4(c3))))
        c5 = _leaky(self.conv5_1(_leaky(self.conv5(c4))))
        flow5 = self.predict5(c5)
        joined = torch.cat((c4, _leaky(self.deconv4(c5)), self.enlarge5(flow5)), dim=1)
        flow4 = self.predict4(joined)
        joined = torch.cat((c3, _leaky(self.deconv3(joined)), self.enlarge4(flow4)), dim=1)
        flow3 = self.predict3(joined)
        joined = torch.cat((c2, _leaky(self.deconv2(joined)), self.enlarge3(flow3)), dim=1)
        return self.predict2(joined), flow3, flow4, flow5


def _padded_and_halved(image: Tensor, padding: Padding) -> Tensor:
    """Return `padding.add(image)`, whose sides are even, bilinearly at half the size."""
    sides = dataclasses.astuple(padding)
    # Zeros stay zeros when halved: only those that share a 2x2 with pixels are needed before.
    before, after = Padding(*(s % 2 for s in sides)), Padding(*(s // 2 for s in sides))
    half = F.interpolate(before.add(image), scale_factor=0.5, mode="bilinear", align_corners=False)
    return after.add(half)


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, LEAK, inplace=True)


def _down(width_in: int, width: int, *, kernel: int) -> nn.Conv2d:
    return nn.Conv2d(width_in, width, kernel_size=kernel, stride=2, padding=kernel // 2)


def _same(width_in: int, width: int) -> nn.Conv2d:
    return nn.Conv2d(width_in, width, kernel_size=3, padding=1)


def _up(width_in: int, width: int, *, bias: bool = True) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(width_in, width, kernel_size=4, stride=2, padding=1, bias=bias)
