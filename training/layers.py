"""Layers: moving pictures painted over each other, and what is known about the result."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from motion import random_track, sample
from sources import Cutout


@dataclass(frozen=True)
class Clip:
    """One clip, or B of them with a leading axis.

    Attributes:
        frames: (T, 3, H, W) uint8.
        masks: (T, N, H, W) float 0..1, what is seen of each target.
        flow: (T-1, 2, H, W) px, from frame t to t-1, of what is seen at t. Empty (0, 2, H, W)
            for real clips.
        visible: (T-1, H, W) bool: that surface is seen in frame t-1 too.
    """

    frames: Tensor
    masks: Tensor
    flow: Tensor
    visible: Tensor


@dataclass(frozen=True)
class Recipe:
    """What a batch is made of.

    Attributes:
        height: px.
        width: px.
        frames: Frames T.
        objects: Targets N.
        batch: Clips.
        real: Part of real clips.
        max_gap: Frames between two frames of a real clip, at most.
        motion: Factor on the speed of synthetic motion.
        colour: Factor on the colour changes; 0 leaves the colours alone.
    """

    height: int
    width: int
    frames: int = 2
    objects: int = 1
    batch: int = 1
    real: float = 0.0
    max_gap: int = 5
    motion: float = 1.0
    colour: float = 1.0

    @property
    def side(self) -> int:
        """Shorter side, px."""
        return min(self.height, self.width)


@dataclass(frozen=True)
class Layer:
    """A picture as the frames see it, (T, C, H, W) float, and its flow (T-1, 2, H, W)."""

    picture: Tensor
    flow: Tensor

    @classmethod
    def moving(
        cls,
        cutout: Cutout,
        size: float,
        recipe: Recipe,
        rng: np.random.Generator,
        *,
        spread: float,
        motion: float = 1.0,
        reflect: bool = False,
    ) -> Layer:
        """Set a cut-out on a random walk, `size` px long in frame 0."""
        cutout, scale = cutout.shrunk_for(size / cutout.size)
        track = random_track(
            rng, recipe.frames, side=recipe.side, start=random_place(rng, recipe, spread),
            centre=cutout.centre, scale=scale, extent=size, motion=motion * recipe.motion,
        )  # fmt: skip
        points, flow = track.points(recipe.height, recipe.width)
        return cls(sample(cutout.picture, points, reflect=reflect), flow)


def stack_layers(ground: Tensor, pictures: list[Tensor]) -> tuple[Tensor, list[Tensor], Tensor]:
    """Paint pictures (T, 4, H, W) over a ground (T, 3, H, W), first one lowest.

    Returns:
        The frames; what is seen of each picture, (T, H, W) each; the uppermost layer of each
        pixel, (T, H, W) int64, 0 the ground.
    """
    frames, seen = ground[:, :3], []
    top = torch.zeros(frames[:, 0].shape, dtype=torch.long)
    for number, picture in enumerate(pictures, 1):
        alpha = picture[:, 3]
        # Colours were sampled apart from the mask, so a border pixel keeps its own colour.
        frames = torch.lerp(frames, picture[:, :3], alpha[:, None])
        seen = [below * (1 - alpha) for below in seen] + [alpha]
        top = torch.where(alpha >= 0.5, number, top)
    return frames, seen, top


def jitter_colours(frames: Tensor, rng: np.random.Generator, strength: float) -> Tensor:
    """Change brightness, contrast, saturation and tint of (..., 3, H, W), one draw for all."""
    bright, contrast = 1 + rng.uniform(-0.35, 0.35, 2) * strength
    saturation = 1 + rng.uniform(-0.5, 0.4) * strength
    tint = torch.tensor(1 + rng.uniform(-0.12, 0.12, 3) * strength).float()[:, None, None]
    frames = frames * (bright * tint)
    mean, grey = frames.mean(), frames.mean(-3, keepdim=True)
    return torch.lerp(grey, frames, saturation) * contrast + mean * (1 - contrast)


def random_place(rng: np.random.Generator, recipe: Recipe, spread: float) -> tuple[float, float]:
    """Draw a point of the frame, px, within `spread` of its middle."""
    x, y = rng.uniform(0.5 - spread, 0.5 + spread, 2)
    return float(x * recipe.width), float(y * recipe.height)


def finish(
    frames: Tensor,
    masks: Tensor,
    top: Tensor,
    flows: list[Tensor] | None,
    recipe: Recipe,
    rng: np.random.Generator,
) -> Clip:
    """Change the colours, pick each pixel's flow from its uppermost layer, round to uint8."""
    if recipe.colour:
        frames = jitter_colours(frames, rng, recipe.colour)
        frames = torch.stack([jitter_colours(f, rng, 0.15 * recipe.colour) for f in frames])
        if rng.random() < 0.04:
            frames = frames.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    frames = frames.round().clamp_(0, 255).byte()
    if flows is None:
        flow = frames.new_zeros(0, 2, *frames.shape[2:], dtype=torch.float32)
        return Clip(frames, masks, flow, frames.new_zeros(0, *frames.shape[2:], dtype=torch.bool))
    flow = flows[0]
    for number, of_layer in enumerate(flows[1:], 1):
        flow = torch.where((top[1:] == number)[:, None], of_layer, flow)
    return Clip(frames, masks, flow, _seen_before(top, flow))


def _seen_before(top: Tensor, flow: Tensor) -> Tensor:
    """Whether the layer on top at t is on top at the end of its flow in t-1, (T-1, H, W)."""
    height, width = top.shape[1:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    x, y = (x + flow[:, 0]).round().long(), (y + flow[:, 1]).round().long()
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    index = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
    before = top[:-1].flatten(1).gather(1, index.flatten(1)).view_as(index)
    return inside & (before == top[1:])
