"""Frames in the form that the network takes: resized, normalised, padded."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

# Mean and deviation of ImageNet's RGB in [0, 1]. Source: torchvision's classification recipe.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def normalise(frames: Tensor) -> Tensor:
    """Scale RGB frames (..., 3, H, W) in [0, 255] to float32 of mean 0 and deviation 1."""
    mean = frames.new_tensor(IMAGENET_MEAN, dtype=torch.float32).view(3, 1, 1)
    std = frames.new_tensor(IMAGENET_STD, dtype=torch.float32).view(3, 1, 1)
    # In place on one copy: touching fresh memory costs more than the arithmetic.
    return frames.to(torch.float32, copy=True).div_(255).sub_(mean).div_(std)


def network_size(height: int, width: int, shorter_side: int | None) -> tuple[int, int]:
    """Return the size (H, W) of a frame inside the network, px; frames are never enlarged."""
    shorter = min(height, width)
    if shorter_side is None or shorter_side >= shorter:
        return height, width
    scale = shorter_side / shorter
    return max(1, round(height * scale)), max(1, round(width * scale))


def resize(planes: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize float planes (B, C, H, W) bilinearly to `size`, antialiased when shrinking."""
    height, width = planes.shape[-2:]
    if (height, width) == tuple(size):
        return planes
    shrinks = size[0] < height or size[1] < width
    return F.interpolate(
        planes, size=tuple(size), mode="bilinear", align_corners=False, antialias=shrinks
    )


@dataclass(frozen=True, slots=True)
class Padding:
    """Zeros added around planes to make their size a multiple of a stride, px."""

    left: int
    right: int
    top: int
    bottom: int

    @classmethod
    def to_multiple(cls, size: tuple[int, int], multiple: int) -> Padding:
        """Return the least padding of an (H, W) frame, its smaller half left and on top."""
        extra_height, extra_width = -size[0] % multiple, -size[1] % multiple
        left, top = extra_width // 2, extra_height // 2
        return cls(left, extra_width - left, top, extra_height - top)

    def add(self, planes: Tensor) -> Tensor:
        """Pad (..., H, W) with zeros."""
        if not (self.left or self.right or self.top or self.bottom):
            return planes
        return F.pad(planes, (self.left, self.right, self.top, self.bottom))

    def remove(self, planes: Tensor) -> Tensor:
        """Crop padded planes (..., H, W) to their size before `add`; a view."""
        height, width = planes.shape[-2:]
        return planes[..., self.top : height - self.bottom, self.left : width - self.right]
