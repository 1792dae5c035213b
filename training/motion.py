"""Motions with exactly known flow.

A layer moves by *backward* maps: pixel p of frame t shows what frame t-1 showed at step_t(p).
Frame t then samples the layer's picture at place(step_1(... step_t(p))), so the flow is exactly
step_t(p) - p, without inverting anything. This module draws tracks with numpy alone; `warps.py`
applies them to many pixels at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

WAVES = 3  # in a smooth warp; with three, no repeated pattern shows

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Warp:
    """An affine map about a pivot, plus a few smooth waves.

    Attributes:
        matrix: (2, 2) linear part.
        pivot: Point (x, y) that the affine part maps to `target`.
        target: Point (x, y).
        amplitudes: (waves, 2) px.
        frequencies: (waves, 2) radians per px.
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
        """All numbers in one row: matrix, shift, then the waves; see `warps.py`."""
        shift = self.target - self.matrix @ self.pivot
        parts = (self.matrix, shift, self.amplitudes, self.frequencies, self.phases)
        return np.concatenate([part.ravel() for part in parts])


@dataclass(frozen=True)
class Track:
    """The places of a layer in T frames.

    Attributes:
        place: Map from pixels of frame 0 to pixels of the layer's picture.
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
        rng: Source of random numbers.
        extent: Size of the object, px; the waves are about as long.
        strength: Standard deviation of the amplitudes, as a part of `extent`.
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
    """Draw a walk: constant velocity, turn, growth and shear, with jitter on each step.

    Args:
        rng: Source of random numbers.
        frames: Number of frames T.
        side: Shorter side of the frame, px; speeds are proportional to it.
        start: Centre of the layer in frame 0, px of the frame.
        centre: Centre of the layer, px of its picture.
        scale: Frame pixels per picture pixel in frame 0.
        extent: Size of the object in the frame, px.
        motion: Factor on all movement.
        pose: Factor on how much frame 0 differs from the upright, unwarped picture.
        flip: Whether the layer is mirrored; None for a random choice.
        stretch: Logarithm of the factor on the width in frame 0; the height is divided by it.
        jump: Largest movement per frame in addition to the walk, px. Its direction turns by at
            most 0.5 radians per frame.
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

    # Some layers stand still: a network that has only seen motion finds motion everywhere.
    motion *= 0.0 if rng.random() < 0.15 else rng.uniform(0.3, 1.2)
    velocity = rng.normal(0, 0.07, 2) * side * motion
    turning, growth, stretching, shearing = rng.normal(0, [0.1, 0.06, 0.03, 0.03]) * motion
    strength = 0.018 * motion
    length = heading = 0.0
    if jump:  # only then: a seed's other tracks must not depend on it
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
