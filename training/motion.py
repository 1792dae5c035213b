"""Motions that are known exactly: where every pixel of a layer comes from.

A layer moves by *backward* maps: a pixel p of frame t shows what frame t-1 showed at step_t(p).
Frame t then samples the layer's picture at place(step_1(... step_t(p))), so the flow
step_t(p) - p holds exactly, with nothing to invert. Tracks are drawn here, with numpy alone;
`warps.py` applies them to many pixels at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WAVES = 3  # of a smooth warp; three already look like no repeated pattern

Floats = NDArray[np.float64]


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

    matrix: Floats
    pivot: Floats
    target: Floats
    amplitudes: Floats
    frequencies: Floats
    phases: Floats

    def __call__(self, points: Floats) -> Floats:
        """Map points (P, 2), x first, px."""
        waves = np.sin(points @ self.frequencies.T + self.phases)
        return (points - self.pivot) @ self.matrix.T + self.target + waves @ self.amplitudes

    @property
    def row(self) -> Floats:
        """All of it as one row of numbers: matrix, shift, then the waves; see `warps.py`."""
        shift = self.target - self.matrix @ self.pivot
        parts = (self.matrix, shift, self.amplitudes, self.frequencies, self.phases)
        return np.concatenate([part.ravel() for part in parts])


@dataclass(frozen=True)
class Track:
    """Where a layer is in each of T frames.

    Attributes:
        place: Frame-0 pixels → pixels of the layer's picture.
        steps: T-1 maps; steps[t-1] takes pixels of frame t to pixels of frame t-1.
    """

    place: Warp
    steps: tuple[Warp, ...]


def affine(rotation: float, scale: float, aspect: float, shear: float) -> Floats:
    """Return the (2, 2) matrix that shears, stretches, scales, then rotates."""
    cos, sin = math.cos(rotation), math.sin(rotation)
    turn = np.array([[cos, -sin], [sin, cos]])
    return scale * turn @ np.diag([aspect, 1 / aspect]) @ np.array([[1.0, shear], [0.0, 1.0]])


def random_waves(
    rng: np.random.Generator, extent: float, strength: float
) -> tuple[Floats, Floats, Floats]:
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
    stretch: float = 0.0,
    jump: float = 0.0,
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
        stretch: Logarithm of the width in frame 0 over that of the upright picture; the height
            is divided by as much.
        jump: Most that the layer moves each frame beside its walk, px. It keeps its direction but
            for turns of up to 0.5 radians a frame.
    """
    turn, aspect = rng.uniform(-0.35, 0.35) * pose, rng.uniform(-0.15, 0.15) * pose
    matrix = affine(turn, scale, math.exp(aspect + stretch), rng.uniform(-0.15, 0.15) * pose)
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
    turning, growth, stretching, shearing = rng.normal(0, [0.1, 0.06, 0.03, 0.03]) * motion
    strength = 0.018 * motion
    if jump:  # no numbers are drawn for others: their tracks stay what they were
        length, heading = jump * rng.random(), rng.uniform(0, 2 * math.pi)
    position = np.array(start, dtype=float)
    steps = []
    for _ in range(frames - 1):
        moved = position + velocity + rng.normal(0, 0.015, 2) * side * motion
        if jump:
            heading += rng.uniform(-0.5, 0.5)
            moved += length * np.array([math.cos(heading), math.sin(heading)])
        jitter = rng.normal(0, [0.03, 0.02, 0.0, 0.0]) * motion
        forward = affine(
            turning + jitter[0],
            math.exp(growth + jitter[1]),
            math.exp(stretching),
            shearing,
        )
        waves = random_waves(rng, extent, strength)
        steps.append(Warp(np.linalg.inv(forward), moved, position, *waves))
        position = moved
    return Track(place, tuple(steps))
