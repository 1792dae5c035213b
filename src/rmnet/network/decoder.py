"""The decoder: from the readout of the memory back to pixels."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from rmnet.config import RMNetConfig


class Decoder(nn.Module):
    """Two refinement steps from stride 16 to stride 4, then a choice of background or object.

    The skips depend on the frame alone: `skips` runs once a frame, `forward` once an object.
    """

    def __init__(self, config: RMNetConfig) -> None:
        super().__init__()
        width4, width8, _ = config.stage_widths
        decoder16, decoder8, decoder4 = config.decoder_widths
        self.entry = _conv(2 * config.value_width, decoder16)
        self.entry_block = ResidualBlock(decoder16)
        self.refine8 = Refinement(width8, decoder16, decoder8)
        self.refine4 = Refinement(width4, decoder8, decoder4)
        self.predict = _conv(decoder4, 2)

    def skips(self, f8: Tensor, f4: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the object-independent half, at strides 8 and 4."""
        return self.refine8.skip_features(f8), self.refine4.skip_features(f4)

    def forward(self, readout: Tensor, skip8: Tensor, skip4: Tensor) -> Tensor:
        """Decode (n, 2*cv, h, w), the readout and the query's own value, with skips (n or 1, ...).

        Returns logits (n, 2, 4h, 4w) of background and object.
        """
        x = self.entry_block(self.entry(readout))
        x = self.refine8(x, skip8)
        x = self.refine4(x, skip4)
        return self.predict(F.relu(x))


class Refinement(nn.Module):
    """A step of the decoder that doubles the resolution with the help of encoder features."""

    def __init__(self, skip_width: int, coarse_width: int, width: int) -> None:
        super().__init__()
        self.skip = _conv(skip_width, width)
        self.skip_block = ResidualBlock(width)
        # Released code: one width throughout, so no projection.
        self.project = (
            nn.Conv2d(coarse_width, width, kernel_size=1) if coarse_width != width else None
        )
        self.merge_block = ResidualBlock(width)

    def skip_features(self, features: Tensor) -> Tensor:
        """Compute the part that depends on the frame alone; (B, width, H, W)."""
        return self.skip_block(self.skip(features))

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        """Merge coarse (n, C, H/2, W/2) with skip (n or 1, width, H, W)."""
        if self.project is not None:
            coarse = self.project(coarse)
        fine = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
        return self.merge_block(fine + skip)


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(relu(x)))): pre-activated, without normalisation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = _conv(width, width)
        self.conv2 = _conv(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, C, H, W) to the same shape."""
        return x + self.conv2(F.relu(self.conv1(F.relu(x)), inplace=True))


def _conv(width_in: int, width: int) -> nn.Conv2d:
    return nn.Conv2d(width_in, width, kernel_size=3, padding=1)
