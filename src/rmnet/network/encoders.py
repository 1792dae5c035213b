"""The two encoders, and the heads that turn their features into keys and values."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from rmnet.config import RMNetConfig
from rmnet.network.backbones import build_backbone


class Features(NamedTuple):
    """What an encoder sees in an image, by stride; (B, C, H/stride, W/stride)."""

    f4: Tensor
    f8: Tensor
    f16: Tensor


class Encoder(nn.Module):
    """A backbone to stride 16, its stem left open for the memory encoder to add masks to."""

    def __init__(self, config: RMNetConfig) -> None:
        super().__init__()
        backbone = build_backbone(config)
        self.stem = backbone.stem
        self.stem_norm = backbone.stem_norm
        self.stem_activation = backbone.stem_activation
        self.stage4 = backbone.stage4
        self.stage8 = backbone.stage8
        self.stage16 = backbone.stage16

    def stages(self, stem: Tensor) -> Features:
        """Features from the stem's output (B, stem_width, H/2, W/2), before its BatchNorm."""
        f4, f8 = self.shallow_stages(stem)
        return Features(f4, f8, self.stage16(f8))

    def shallow_stages(self, stem: Tensor) -> tuple[Tensor, Tensor]:
        """f4 and f8 alone."""
        f4 = self.stage4(self.stem_activation(self.stem_norm(stem)))
        return f4, self.stage8(f4)


class QueryEncoder(Encoder):
    """Sees the frame to be segmented."""

    def forward(self, image: Tensor) -> Features:
        """Encode images (B, 3, H, W); 16 divides H and W."""
        return self.stages(self.stem(image))


class MemoryEncoder(Encoder):
    """Sees a past frame together with one object's mask, and with the other objects' masks."""

    def __init__(self, config: RMNetConfig) -> None:
        super().__init__(config)
        self.mask_stem = _mask_stem(config.stem_width)
        # Paper: four input channels, image and mask. Released code: a fifth, the other objects.
        self.others_stem = _mask_stem(config.stem_width) if config.others_input else None

    def forward(self, stem: Tensor, masks: Tensor, others: Tensor | None) -> Features:
        """Encode objects of a frame.

        Args:
            stem: (n, stem_width, H/2, W/2), `self.stem` of the frame: the same for every object.
            masks: (n, 1, H, W) in [0, 1], soft.
            others: (n, 1, H, W), what other objects cover; None without others.
        """
        joined = self.mask_stem(masks)
        joined += stem
        if self.others_stem is not None and others is not None:
            joined += self.others_stem(others)
        return self.stages(joined)


def other_objects(masks: Tensor) -> Tensor:
    """What all objects but one cover, for every one: (B, N, H, W) in [0, 1], as the masks."""
    return (masks.sum(dim=1, keepdim=True) - masks).clamp(0, 1)


class KeyValueHead(nn.Module):
    """Where a cell is found (key) and what it says (value)."""

    def __init__(self, config: RMNetConfig) -> None:
        super().__init__()
        width = config.stage_widths[-1]
        self.key = nn.Conv2d(width, config.key_width, kernel_size=3, padding=1)
        self.value = nn.Conv2d(width, config.value_width, kernel_size=3, padding=1)

    def forward(self, f16: Tensor) -> tuple[Tensor, Tensor]:
        """Keys (B, ck, h, w) and values (B, cv, h, w) of f16 (B, C, h, w)."""
        return self.key(f16), self.value(f16)


def tie_convolutions(target: nn.Module, source: nn.Module) -> None:
    """Make `target` use the convolutions of `source` wherever both have one of the same name."""
    for name, layer in source.named_children():
        if not hasattr(target, name):
            continue
        if isinstance(layer, nn.Conv2d):
            setattr(target, name, layer)
        else:
            tie_convolutions(getattr(target, name), layer)


def _mask_stem(width: int) -> nn.Conv2d:
    return nn.Conv2d(1, width, kernel_size=7, stride=2, padding=3, bias=False)
