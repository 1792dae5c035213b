"""The demo clip: flat shapes, shaded as if solid, each on its path; and how well they were tracked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rmnet.demo.textures import SIZE, Array, ground, marbled, sample, speckled, spotted
from rmnet.errors import ConfigError
from rmnet.metrics import jaccard

_MIN_SIDE = 32  # px; in smaller frames the objects are a few pixels each
_EDGE = 1.5  # width over which an object's edge fades into the picture behind it, px
_LIGHT = np.array([-0.45, -0.6, 0.66], np.float32)  # unit vector: x, y, towards the viewer


@dataclass(frozen=True, slots=True, eq=False)
class DemoClip:
    """A video with its true masks."""

    frames: NDArray[np.uint8]  # (T, H, W, 3) RGB
    labels: NDArray[np.int32]  # (T, H, W): 0 background, else the id of the frontmost object


class DemoScore(NamedTuple):
    """How well one object of a clip was tracked."""

    object_id: int
    jaccard: float  # mean J over the frames after the first that show it, in [0, 1]
    frames: int  # their number


def make_clip(
    seed: int = 0, *, num_frames: int = 60, size: tuple[int, int] = (240, 426)
) -> DemoClip:
    """Draw three objects that cross each other; object 3 leaves the frame and comes back.

    The same arguments always give the same clip. Fewer frames move faster, since they always tell
    the whole story. `size` is (H, W) px, each at least 32.
    """
    height, width = size
    if num_frames < 1 or min(size) < _MIN_SIDE or seed < 0:
        raise ConfigError(
            f"make_clip got seed={seed}, num_frames={num_frames}, size={size}; accepted: "
            f"seed >= 0, num_frames >= 1, size (H, W) from {_MIN_SIDE} px"
        )
    rng = np.random.default_rng(seed)
    earth = ground(rng)
    sprites = _make_sprites(rng, height, width)
    frames = np.empty((num_frames, height, width, 3), np.uint8)
    labels = np.zeros((num_frames, height, width), np.int32)
    for t in range(num_frames):
        time = t / max(num_frames - 1, 1)
        picture = _draw_ground(earth, height, width, time)
        for object_id, sprite in sprites:
            draw_sprite(picture, labels[t], object_id, sprite, time)
        picture += 1.5 * rng.standard_normal(picture.shape, np.float32)  # sensor noise
        frames[t] = picture.round().clip(0, 255)
    return DemoClip(frames, labels)


def score(labels: NDArray[np.integer[Any]], truth: NDArray[np.integer[Any]]) -> list[DemoScore]:
    """Score tracked labels (T, H, W), for each object of the truth's first frame seen again."""
    scores = []
    for object_id in np.unique(truth[0][truth[0] > 0]).tolist():
        shown = [t for t in range(1, len(truth)) if (truth[t] == object_id).any()]
        values = [jaccard(labels[t] == object_id, truth[t] == object_id) for t in shown]
        if values:
            scores.append(DemoScore(object_id, sum(values) / len(values), len(values)))
    return scores


def _draw_ground(texture: Array, height: int, width: int, time: float) -> Array:
    """Return the ground (H, W, 3) under a slowly moving camera, paler in the distance."""
    zoom = 0.9 * 240 / min(height, 0.56 * width) * (1 + 0.05 * time)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    picture = sample(texture, zoom * y + 14 * np.sin(3 * time), zoom * x + 90 * time)
    away = 1 - y / height
    haze = np.array([206, 212, 208], np.float32)
    picture += (0.30 * away * away)[..., None] * (haze - picture)
    corner = ((x / width - 0.5) ** 2 + (y / height - 0.5) ** 2)[..., None]
    return picture * (1.06 - 0.42 * corner)


@dataclass(frozen=True, slots=True, eq=False)
class Sprite:
    """A flat shape with a texture and a path. Its times run from 0 to 1."""

    outline: Callable[[Array], Array]  # angles -> distances of the edge, in radii
    texture: Array  # colours (512, 512, 3) in [0, 255]
    radius: float  # px
    path: Callable[[float], tuple[float, float]]  # time -> (x, y) of the centre, px
    turn: tuple[float, float]  # angle at time 0, and rotation until time 1, radians
    breath: float  # phase of the pulsation, radians


def _make_sprites(rng: np.random.Generator, height: int, width: int) -> list[tuple[int, Sprite]]:
    """Make the objects and their ids, from back to front, for a frame of a size in px."""
    unit = min(height, 0.56 * width)  # of length, px; suits frames of any shape
    phase = rng.uniform(0, 2 * np.pi, 4)
    turns = rng.uniform(-0.35, 0.35, 3).tolist()

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
        there = width + 1.6 * 0.15 * unit  # entirely outside
        return 0.66 * width + away * (there - 0.66 * width), (0.26 + 0.05 * away) * height

    breath = float(phase[2])
    # Object 2 passes behind 1; 3 is in front of both.
    return [
        (2, Sprite(cushion, marbled(rng), 0.17 * unit, leftwards, (turns[1], -0.9), breath)),
        (1, Sprite(stone, spotted(rng), 0.17 * unit, rightwards, (turns[0], 0.8), breath)),
        (3, Sprite(starfish, speckled(rng), 0.15 * unit, out_and_back, (turns[0], 1.6), breath)),
    ]


def draw_sprite(
    picture: Array, labels: NDArray[np.int32], object_id: int, sprite: Sprite, time: float
) -> None:
    """Draw an object and its shadow into a picture (H, W, 3), and its id into labels (H, W)."""
    height, width = labels.shape
    centre_x, centre_y = sprite.path(time)
    radius = sprite.radius * (1 + 0.08 * np.sin(2 * np.pi * time + sprite.breath))
    reach = int(1.8 * radius)  # of the object and its shadow from the centre, px
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
    # The texture turns with the object, the light does not. It falls on a dome with the normal
    # (x, y, up).
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
    """Return the distance of points from the outline, in radii; negative inside."""
    local_x, local_y = _turned(x, y, angle)
    return np.hypot(local_x, local_y) - sprite.outline(np.arctan2(local_y, local_x))
