"""The demo's objects: flat shapes that are shaded like solid ones, each on its path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rmnet.demo.textures import SIZE, Array, marbled, sample, speckled, spotted

_EDGE = 1.5  # px over which an object's edge fades into what is behind it, as a lens does
_LIGHT = np.array([-0.45, -0.6, 0.66], np.float32)  # x, y, towards the viewer; of length 1


@dataclass(frozen=True, slots=True, eq=False)
class Sprite:
    """A flat shape with a texture and a path.

    Attributes:
        outline: From angles to the distance of the edge, as a fraction of the radius.
        texture: (512, 512, 3) in [0, 255].
        radius: px.
        path: From time in [0, 1] to (x, y) px of the centre.
        turn: Angle at time 0 and angle added until time 1, radians.
        breath: Phase of its growing and shrinking, radians.
    """

    outline: Callable[[Array], Array]
    texture: Array
    radius: float
    path: Callable[[float], tuple[float, float]]
    turn: tuple[float, float]
    breath: float


def make_sprites(rng: np.random.Generator, height: int, width: int) -> list[tuple[int, Sprite]]:
    """The objects with their ids, from back to front, for a frame of a size in px."""
    unit = min(height, 0.56 * width)  # of length, px; the paths below suit any shape of frame
    phase = rng.uniform(0, 2 * np.pi, 4)
    turns = rng.uniform(-0.35, 0.35, 3)

    def stone(angle: Array) -> Array:
        return 1 + 0.15 * np.cos(3 * angle + phase[0]) + 0.06 * np.cos(5 * angle + phase[1])

    def cushion(angle: Array) -> Array:
        across, along = abs(np.cos(angle)) / 1.25, abs(np.sin(angle)) / 0.85
        return (across**3.5 + along**3.5) ** (-1 / 3.5)

    def starfish(angle: Array) -> Array:
        return 0.78 + 0.27 * np.cos(5 * angle) + 0.04 * np.cos(10 * angle)

    def rightwards(time: float) -> tuple[float, float]:
        return (0.17 + 0.57 * time) * width, (0.50 + 0.09 * np.sin(2 * np.pi * time)) * height

    def leftwards(time: float) -> tuple[float, float]:
        return (0.80 - 0.60 * time) * width, (0.71 - 0.06 * np.sin(np.pi * time)) * height

    def out_and_back(time: float) -> tuple[float, float]:
        away = (1 - np.cos(2 * np.pi * time)) / 2
        there = width + 1.6 * 0.15 * unit  # wholly outside
        return 0.66 * width + away * (there - 0.66 * width), (0.26 + 0.05 * away) * height

    def sprite(
        outline: Callable[[Array], Array],
        texture: Array,
        radius: float,
        path: Callable[[float], tuple[float, float]],
        turn: float,
    ) -> Sprite:
        start = float(turns[0] if turn > 0 else turns[1])
        return Sprite(outline, texture, radius * unit, path, (start, turn), float(phase[2]))

    # In the order of drawing: 2 passes behind 1, 3 is in front of both.
    return [
        (2, sprite(cushion, marbled(rng), 0.17, leftwards, -0.9)),
        (1, sprite(stone, spotted(rng), 0.17, rightwards, 0.8)),
        (3, sprite(starfish, speckled(rng), 0.15, out_and_back, 1.6)),
    ]


def draw_sprite(
    picture: Array, labels: NDArray[np.int32], object_id: int, sprite: Sprite, time: float
) -> None:
    """Draw an object, in place: with its shadow over a picture, and its id over labels.

    Args:
        picture: (H, W, 3) in [0, 255].
        labels: (H, W).
        object_id: Its id.
        sprite: The object.
        time: In [0, 1].
    """
    height, width = labels.shape
    centre_x, centre_y = sprite.path(time)
    radius = sprite.radius * (1 + 0.08 * np.sin(2 * np.pi * time + sprite.breath))
    reach = int(1.8 * radius)  # px around the centre that the object or its shadow may touch
    rows = slice(max(0, int(centre_y) - reach), min(height, int(centre_y) + reach))
    columns = slice(max(0, int(centre_x) - reach), min(width, int(centre_x) + reach))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return
    grid = np.mgrid[rows, columns].astype(np.float32)
    y, x = (grid[0] - centre_y) / radius, (grid[1] - centre_x) / radius
    angle = sprite.turn[0] + sprite.turn[1] * time

    shadow = _outside(sprite, x - 0.14, y - 0.2, angle)
    dark = np.clip(0.5 - shadow / 0.45, 0, 1)
    picture[rows, columns] *= 1 - 0.45 * (dark * dark * (3 - 2 * dark))[..., None]

    outside = _outside(sprite, x, y, angle)
    opacity = np.clip(0.5 - outside * radius / _EDGE, 0, 1)
    # The texture turns with the object, the light does not. A dome's normal at (x, y), from edge
    # to centre:
    rim = np.hypot(x, y) / np.maximum(np.hypot(x, y) - outside, 1e-3)
    up = np.sqrt(np.clip(1.05 - rim * rim, 0.05, 1))
    glow = np.clip(x * _LIGHT[0] + y * _LIGHT[1] + up * _LIGHT[2], 0, 1)
    local_x, local_y = _turned(x, y, angle)
    scale = 0.2 * SIZE
    colours = sample(sprite.texture, local_y * scale, local_x * scale)
    colours = colours * (0.55 + 0.65 * glow)[..., None] + 22 * (glow**16)[..., None]

    cover = opacity[..., None]
    picture[rows, columns] = picture[rows, columns] * (1 - cover) + colours * cover
    labels[rows, columns][opacity >= 0.5] = object_id


def _turned(x: Array, y: Array, angle: float) -> tuple[Array, Array]:
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return cosine * x + sine * y, cosine * y - sine * x


def _outside(sprite: Sprite, x: Array, y: Array, angle: float) -> Array:
    """How far points lie outside of the outline, in radii; negative inside."""
    local_x, local_y = _turned(x, y, angle)
    return np.hypot(local_x, local_y) - sprite.outline(np.arctan2(local_y, local_x))
