"""The two encoders, and the heads that turn their features into keys and values."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from rmnet.config import RMNetConfig
from rmnet.network.backbones import build_backbone


class Features(NamedTuple):
    """Features of images by stride, (B, C, H/stride, W/stride)."""

    f4: Tensor
    f8: Tensor
    f16: Tensor


class Encoder(nn.Module):
    """A backbone to stride 16, open after the stem, where the memory encoder adds the masks."""

    def __init__(self, config: RMNetConfig) -> None:
        super().__init__()
        backbone = build_backbone(config)
        self.stem, self.stem_norm, self.stem_activation = backbone[:3]
        self.stage4, self.stage8, self.stage16 = backbone[3:]

    def stages(self, stem: Tensor) -> Features:
        """Return features of the stem's output (B, stem_width, H/2, W/2) before its BatchNorm."""
        f4 = self.stage4(self.stem_activation(self.stem_norm(stem)))
        f8 = self.stage8(f4)
        return Features(f4, f8, self.stage16(f8))


class QueryEncoder(Encoder):
    """Encoder of the frame to be segmented."""

    def forward(self, image: Tensor) -> Features:
        """Encode images (B, 3, H, W); 16 divides H and W."""
        return self.stages(self.stem(image))


class MemoryEncoder(Encoder):
    """Encoder of a past frame with one object's mask and the masks of the other objects."""

    def __init__(self, config: RMNetConfig) -> None:
        super().__init__(config)
        self.mask_stem = _mask_stem(config.stem_width)
        # Paper: four input channels, image and mask. Released code: a fifth, the other objects.
        self.others_stem = _mask_stem(config.stem_width) if config.others_input else None

    def forward(self, stem: Tensor, masks: Tensor, others: Tensor | None) -> Features:
        """Encode the masks (n, 1, H, W), in [0, 1], of objects of a frame.

        `stem` (n, stem_width, H/2, W/2) is `self.stem` of the frame; `others` (n, 1, H, W) has the
        other objects' pixels, None if there are none.
        """
        joined = self.mask_stem(masks) + stem
        if self.others_stem is not None and others is not None:
            joined = joined + self.others_stem(others)
        return self.stages(joined)


def other_objects(masks: Tensor) -> Tensor:
    """Return for every object the sum of the other masks: (B, N, H, W) in [0, 1], as the masks."""
    return (masks.sum(dim=1, keepdim=True) - masks).clamp(0, 1)


class KeyValueHead(nn.Module):
    """Two convolutions: the key says where a cell is found, the value what is there."""

    def __init__(self, config: RMNetConfig) -> None:
        super().__init__()
        width = config.stage_widths[-1]
        self.key = nn.Conv2d(width, config.key_width, kernel_size=3, padding=1)
        self.value = nn.Conv2d(width, config.value_width, kernel_size=3, padding=1)

    def forward(self, f16: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys (B, ck, h, w) and values (B, cv, h, w) of f16 (B, C, h, w)."""
        return self.key(f16), self.value(f16)


def _mask_stem(width: int) -> nn.Conv2d:
    return nn.Conv2d(1, width, kernel_size=7, stride=2, padding=3, bias=False)
