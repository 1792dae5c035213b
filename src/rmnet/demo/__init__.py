"""A clip to try the library on, made from nothing: three textured objects on a moving ground."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rmnet.demo.sprites import draw_sprite, make_sprites
from rmnet.demo.textures import Array, ground, sample
from rmnet.errors import ConfigError
from rmnet.metrics import jaccard

FOUND_AT = 0.5  # J from which an object that came back counts as found
_MIN_SIDE = 32  # px; below it the objects are a few pixels each


@dataclass(frozen=True, slots=True, eq=False)
class DemoClip:
    """A video whose true masks are known.

    Attributes:
        frames: (T, H, W, 3) uint8 RGB.
        labels: (T, H, W) int32: 0 background, else the id of the object in front.
    """

    frames: NDArray[np.uint8]
    labels: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class ObjectScore:
    """How well one object of a clip was tracked.

    Attributes:
        object_id: Its id.
        jaccard: Mean J over the frames after the first that show it, in [0, 1].
        frames: How many frames those are.
        returned_at: Frame in which it came back into the picture; None if it was never away.
        found_at: First frame from then on with a J of at least 0.5; None if there is none.
    """

    object_id: int
    jaccard: float
    frames: int
    returned_at: int | None
    found_at: int | None


def make_clip(
    seed: int = 0, *, num_frames: int = 60, size: tuple[int, int] = (240, 426)
) -> DemoClip:
    """Draw three objects that cross each other; object 3 leaves the frame and comes back.

    The same arguments give the same clip.

    Args:
        seed: Of the textures and of what the objects' outlines and turns start from.
        num_frames: T. The whole story is told in them, so fewer frames move faster; from 6 on
            object 3 is away for at least one.
        size: (H, W) px, each at least 32.

    Raises:
        ConfigError: an argument is out of its range.
    """
    height, width = size
    if num_frames < 1 or min(size) < _MIN_SIDE or seed < 0:
        raise ConfigError(
            f"make_clip got seed={seed}, num_frames={num_frames}, size={size}; accepted: "
            f"seed >= 0, num_frames >= 1, size (H, W) from {_MIN_SIDE} px"
        )
    rng = np.random.default_rng(seed)
    earth = ground(rng)
    sprites = make_sprites(rng, height, width)
    frames = np.empty((num_frames, height, width, 3), np.uint8)
    labels = np.zeros((num_frames, height, width), np.int32)
    for t in range(num_frames):
        time = t / max(num_frames - 1, 1)
        picture = _draw_ground(earth, height, width, time)
        for object_id, sprite in sprites:  # from back to front
            draw_sprite(picture, labels[t], object_id, sprite, time)
        picture += 1.5 * rng.standard_normal(picture.shape, np.float32)  # of the sensor
        frames[t] = picture.round().clip(0, 255)
    return DemoClip(frames, labels)


def score(labels: NDArray[np.integer[Any]], truth: NDArray[np.integer[Any]]) -> list[ObjectScore]:
    """Compare tracked labels with the true ones.

    Args:
        labels: (T, H, W), the tracker's.
        truth: (T, H, W), such as `DemoClip.labels`; its first frame was given to the tracker.

    Returns:
        One score for each object of the first frame that is seen later, by id.
    """
    scores = []
    for object_id in np.unique(truth[0][truth[0] > 0]).tolist():
        shown = [t for t in range(1, len(truth)) if (truth[t] == object_id).any()]
        if not shown:
            continue
        values = {t: jaccard(labels[t] == object_id, truth[t] == object_id) for t in shown}
        returns = [t for before, t in zip([0, *shown], shown, strict=False) if t > before + 1]
        found = [t for t in shown if returns and t >= returns[-1] and values[t] >= FOUND_AT]
        scores.append(
            ObjectScore(
                object_id=object_id,
                jaccard=sum(values.values()) / len(values),
                frames=len(shown),
                returned_at=returns[-1] if returns else None,
                found_at=found[0] if found else None,
            )
        )
    return scores


def _draw_ground(texture: Array, height: int, width: int, time: float) -> Array:
    """What a slowly moving camera sees of the ground: (H, W, 3), lighter in the distance."""
    zoom = 0.9 * 240 / min(height, 0.56 * width) * (1 + 0.05 * time)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    picture = sample(texture, zoom * y + 14 * np.sin(3 * time), zoom * x + 90 * time)
    away = 1 - y / height
    haze = np.array([206, 212, 208], np.float32)
    picture += (0.30 * away * away)[..., None] * (haze - picture)
    corner = ((x / width - 0.5) ** 2 + (y / height - 0.5) ** 2)[..., None]
    return picture * (1.06 - 0.42 * corner)
