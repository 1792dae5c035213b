"""Natural-looking textures: coloured noise of many scales."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SIZE = 512  # side of a texture, px; textures tile

Array = NDArray[np.floating[Any]]


def _noise(rng: np.random.Generator, *, steepness: float, coarsest: float = 1.0) -> Array:
    """Draw noise (512, 512) that tiles, of mean 0 and standard deviation 1.

    The spectrum is 1 / f^steepness, 1 being grainy and 2 cloudy, from `coarsest` periods a texture.
    """
    frequencies = np.fft.fftfreq(SIZE, 1 / SIZE)
    frequency = np.hypot(frequencies[:, None], frequencies[None, :])
    weight = np.where(frequency >= coarsest, 1 / np.maximum(frequency, 1) ** steepness, 0)
    spectrum = np.fft.fft2(rng.normal(size=frequency.shape)) * weight
    noise = np.fft.ifft2(spectrum).real
    return ((noise - noise.mean()) / noise.std()).astype(np.float32)


def _blend(amount: Array, colours: list[tuple[int, int, int]]) -> Array:
    """Map `amount` (512, 512) in [0, 1] to a gradient of colours, (512, 512, 3)."""
    stops = np.linspace(0, 1, len(colours))
    planes = [np.interp(amount, stops, plane) for plane in zip(*colours, strict=True)]
    return np.stack(planes, axis=-1).astype(np.float32)


def _squash(x: Array) -> Array:
    return (1 / (1 + np.exp(-x))).astype(np.float32)


def ground(rng: np.random.Generator) -> Array:
    """Draw patches of grass and sand, (512, 512, 3)."""
    patches = _squash(1.3 * _noise(rng, steepness=1.7, coarsest=2))
    grain = _noise(rng, steepness=0.9, coarsest=16)
    earth = _blend(patches, [(52, 66, 40), (86, 98, 58), (128, 124, 84), (168, 156, 122)])
    return earth * (1 + 0.16 * grain)[..., None]


def spotted(rng: np.random.Generator) -> Array:
    """Draw dark spots on orange, (512, 512, 3)."""
    spots = _squash(5 * _noise(rng, steepness=2.2, coarsest=14) - 2)
    grain = _noise(rng, steepness=1.2, coarsest=8)
    coat = _blend(spots, [(236, 142, 48), (214, 104, 34), (94, 38, 18)])
    return coat * (1 + 0.10 * grain)[..., None]


def marbled(rng: np.random.Generator) -> Array:
    """Draw pale veins on blue, (512, 512, 3)."""
    along = np.linspace(0, 2 * np.pi, SIZE, endpoint=False, dtype=np.float32)
    veins = np.sin(9 * along[None, :] + 1.8 * _noise(rng, steepness=1.8, coarsest=3))
    grain = _noise(rng, steepness=1.0, coarsest=8)
    stone = _blend(0.5 + 0.5 * veins, [(30, 62, 130), (52, 104, 176), (120, 172, 214)])
    return stone * (1 + 0.08 * grain)[..., None]


def speckled(rng: np.random.Generator) -> Array:
    """Draw pale specks on crimson, (512, 512, 3)."""
    tint = _squash(1.5 * _noise(rng, steepness=1.6, coarsest=6))
    specks = _squash(6 * _noise(rng, steepness=1.4, coarsest=40) - 9)
    skin = _blend(tint, [(132, 24, 58), (186, 48, 84), (220, 96, 118)])
    return skin + specks[..., None] * (np.array([246, 222, 196], np.float32) - skin)


def sample(texture: Array, y: Array, x: Array) -> Array:
    """Interpolate a tiled texture (512, 512, 3) at rows and columns (h, w), px of any range."""
    top, left = np.floor(y), np.floor(x)
    down, right = (y - top)[..., None], (x - left)[..., None]
    row, column = top.astype(np.intp) % SIZE, left.astype(np.intp) % SIZE
    below, beside = (row + 1) % SIZE, (column + 1) % SIZE
    upper = texture[row, column] * (1 - right) + texture[row, beside] * right
    lower = texture[below, column] * (1 - right) + texture[below, beside] * right
    return upper * (1 - down) + lower * down
