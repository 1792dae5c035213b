"""Motions that are known exactly: where every pixel of a layer comes from.

A layer moves by *backward* maps: a pixel p of frame t shows what frame t-1 showed at step_t(p).
Frame t then samples the layer's picture at place(step_1(... step_t(p))), so the flow
step_t(p) - p holds exactly, with nothing to invert.

Points are (2, ..., H, W) float tensors, x first, in pixels, pixel centres on the integers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

WAVES = 3  # of a smooth warp; three already look like no repeated pattern


def pixel_points(height: int, width: int) -> Tensor:
    """Return the points of a frame's own pixels, (2, H, W)."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([x, y]).float()


@dataclass(frozen=True)
class Warp:
    """An affine map about a pivot, plus a few slow waves.

    Attributes:
        matrix: (2, 2) linear part.
        pivot: The point (x, y) that `target` is the image of, waves apart.
        target: Its image.
        amplitudes: (waves, 2) px.
        frequencies: (waves, 2) radians a px.
        phases: (waves,) radians.
    """

    matrix: np.ndarray
    pivot: np.ndarray
    target: np.ndarray
    amplitudes: np.ndarray
    frequencies: np.ndarray
    phases: np.ndarray

    def __call__(self, points: Tensor) -> Tensor:
        """Map points (2, ...) to points of the same shape."""
        x, y = points
        (a, b), (c, d) = self.matrix.tolist()
        shift_x, shift_y = (self.target - self.matrix @ self.pivot).tolist()
        out_x = a * x + b * y + shift_x
        out_y = c * x + d * y + shift_y
        for amplitude, (fx, fy), phase in zip(
            self.amplitudes.tolist(), self.frequencies.tolist(), self.phases.tolist(), strict=True
        ):
            if not any(amplitude):
                continue
            wave = (fx * x + fy * y).add_(phase).sin_()
            out_x.add_(wave, alpha=amplitude[0])
            out_y.add_(wave, alpha=amplitude[1])
        return torch.stack([out_x, out_y])


def affine(rotation: float, scale: float, aspect: float, shear: float) -> np.ndarray:
    """Return the (2, 2) matrix that shears, stretches, scales, then rotates."""
    cos, sin = math.cos(rotation), math.sin(rotation)
    turn = np.array([[cos, -sin], [sin, cos]])
    return scale * turn @ np.diag([aspect, 1 / aspect]) @ np.array([[1.0, shear], [0.0, 1.0]])


def random_waves(
    rng: np.random.Generator, extent: float, strength: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw amplitudes, frequencies and phases of a smooth warp.

    Args:
        rng: Where the numbers come from.
        extent: Size of the thing that is warped, px; the waves are about as long.
        strength: Standard deviation of a wave's amplitude, as a part of `extent`.
    """
    angles = rng.uniform(0, 2 * math.pi, WAVES)
    radians = 2 * math.pi / (extent * rng.uniform(0.7, 1.8, WAVES))
    frequencies = np.stack([np.cos(angles), np.sin(angles)], 1) * radians[:, None]
    amplitudes = rng.normal(0, strength * extent, (WAVES, 2))
    return amplitudes, frequencies, rng.uniform(0, 2 * math.pi, WAVES)


@dataclass(frozen=True)
class Track:
    """Where a layer is in each of T frames.

    Attributes:
        place: Frame-0 pixels → pixels of the layer's picture.
        steps: T-1 maps; steps[t-1] takes pixels of frame t to pixels of frame t-1.
    """

    place: Warp
    steps: tuple[Warp, ...]

    def points(self, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Return the picture points (2, T, H, W) and the flows (T-1, 2, H, W) to frame t-1."""
        own = pixel_points(height, width)
        points = own[:, :0].reshape(2, 0, height, width)
        flows = []
        for step in reversed(self.steps):
            # The later frames, already carried back to here, go one frame further with this one.
            points = step(torch.cat([own[:, None], points], 1))
            flows.append(points[:, 0] - own)
        points = self.place(torch.cat([own[:, None], points], 1))
        empty = own.new_zeros(0, 2, height, width)
        return points, torch.stack(flows[::-1]) if flows else empty


def random_track(
    rng: np.random.Generator,
    frames: int,
    *,
    side: float,
    start: tuple[float, float],
    centre: tuple[float, float],
    scale: float,
    extent: float,
    motion: float = 1.0,
    pose: float = 1.0,
    flip: bool | None = None,
) -> Track:
    """Draw a walk: a velocity, turn, growth and shear kept over the clip, with jitter on each step.

    Args:
        rng: Where the numbers come from.
        frames: Frames T of the clip.
        side: Shorter side of the frame, px; speeds are parts of it.
        start: Where the layer's centre is in frame 0, px of the frame.
        centre: The layer's centre, px of its picture.
        scale: Frame pixels per picture pixel in frame 0.
        extent: Size of the layer's subject in the frame, px.
        motion: Factor on all movement.
        pose: Factor on how far frame 0 is from the upright, unwarped picture.
        flip: Whether the layer is mirrored; None tosses a coin.
    """
    turn, aspect = rng.uniform(-0.35, 0.35) * pose, math.exp(rng.uniform(-0.15, 0.15) * pose)
    matrix = affine(turn, scale, aspect, rng.uniform(-0.15, 0.15) * pose)
    if flip or (flip is None and rng.random() < 0.5):
        matrix = matrix @ np.diag([-1.0, 1.0])
    amplitudes, frequencies, phases = random_waves(rng, extent, 0.012 * pose)
    inverse = np.linalg.inv(matrix)
    place = Warp(
        inverse, np.array(start), np.array(centre), amplitudes @ inverse.T, frequencies, phases
    )

    # Some layers stand still: a network that has only seen motion invents it.
    motion *= 0.0 if rng.random() < 0.15 else rng.uniform(0.3, 1.2)
    velocity = rng.normal(0, 0.07, 2) * side * motion
    turning, growth, stretch, shearing = rng.normal(0, [0.1, 0.06, 0.03, 0.03]) * motion
    strength = 0.018 * motion
    position = np.array(start, dtype=float)
    steps = []
    for _ in range(frames - 1):
        moved = position + velocity + rng.normal(0, 0.015, 2) * side * motion
        jitter = rng.normal(0, [0.03, 0.02, 0.0, 0.0]) * motion
        forward = affine(
            turning + jitter[0],
            math.exp(growth + jitter[1]),
            math.exp(stretch),
            shearing,
        )
        waves = random_waves(rng, extent, strength)
        steps.append(Warp(np.linalg.inv(forward), moved, position, *waves))
        position = moved
    return Track(place, tuple(steps))


def sample(picture: Tensor, points: Tensor, *, reflect: bool = False) -> Tensor:
    """Look a picture up bilinearly.

    Args:
        picture: (C, h, w) float.
        points: (2, T, H, W), px of the picture.
        reflect: Continue the picture by its mirror image; else by zeros.

    Returns:
        (T, C, H, W) float.
    """
    frames, height, width = points.shape[1:]
    ends = torch.tensor([picture.shape[2] - 1, picture.shape[1] - 1])
    grid = (points.flatten(1).T * (2 / ends) - 1).view(1, frames * height, width, 2)
    mode = "reflection" if reflect else "zeros"
    out = F.grid_sample(picture[None], grid, padding_mode=mode, align_corners=True)
    return out[0].unflatten(1, (frames, height)).transpose(0, 1)
