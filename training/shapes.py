"""Stills drawn by code: textured shapes over textures, free of any licence.

They replace photographs where only freely licensed data may be used; see `experiments.py`.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from training.pictures import Picture

HEIGHT, WIDTH = 256, 352
MOST_SHAPES = 4
REACH = 1.7  # radii; shapes are cut off there

Plane = NDArray[np.float32]


def make_stills(
    count: int, *, seed: int = 0, size: tuple[int, int] = (HEIGHT, WIDTH)
) -> list[Picture]:
    """Draw stills with 1 to 4 labelled shapes each; equal seeds draw equal stills."""
    return [make_still(np.random.default_rng([seed, number]), size) for number in range(count)]


def make_still(rng: np.random.Generator, size: tuple[int, int]) -> Picture:
    """Draw one still, each shape over the previous ones."""
    height, width = size
    picture = random_texture(rng, size)
    labels = np.zeros(size, np.uint8)
    for number in range(1, 1 + int(rng.integers(1, MOST_SHAPES + 1))):
        radius = min(size) * 0.1 * 4.5 ** rng.random()
        x, y = rng.uniform(0.15, 0.85) * width, rng.uniform(0.15, 0.85) * height
        # Only within its reach, which saves most of the time.
        left, top = max(0, int(x - REACH * radius)), max(0, int(y - REACH * radius))
        right, bottom = min(width, int(x + REACH * radius)), min(height, int(y + REACH * radius))
        part, centre = (bottom - top, right - left), (x - left, y - top)
        depth = random_shape(rng, part, centre, radius)
        inside = np.clip(depth * radius / 1.5 + 0.5, 0, 1)[..., None]
        coat = random_texture(rng, part)
        if rng.random() < 0.7:  # light from one side, as on a solid
            coat = coat * shading(rng, part, centre, radius, depth)[..., None]
        under = picture[top:bottom, left:right]
        picture[top:bottom, left:right] = under * (1 - inside) + coat * inside
        labels[top:bottom, left:right][inside[..., 0] >= 0.5] = number
    noisy = picture + rng.normal(0, rng.uniform(0, 6), picture.shape)
    image = torch.from_numpy(noisy.clip(0, 255).astype(np.uint8)).permute(2, 0, 1).contiguous()
    return Picture.of(image, torch.from_numpy(labels))


def random_shape(
    rng: np.random.Generator, size: tuple[int, int], centre: tuple[float, float], radius: float
) -> Plane:
    """Return how deep each pixel lies in a random shape, in radii; negative outside."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    angle, stretch = rng.uniform(0, 2 * math.pi), math.exp(rng.uniform(-0.5, 0.5))
    dx, dy = (x - centre[0]) / radius, (y - centre[1]) / radius
    cos, sin = math.cos(angle), math.sin(angle)
    across, along = (cos * dx + sin * dy) * stretch, (cos * dy - sin * dx) / stretch
    kind = rng.choice(["blob", "polygon", "limbs"], p=[0.35, 0.25, 0.4])
    if kind == "blob":
        return _blob(rng, across, along)
    if kind == "polygon":
        return _polygon(rng, across, along)
    return _limbs(rng, across, along)


def _blob(rng: np.random.Generator, x: Plane, y: Plane) -> Plane:
    """Return depths in a closed curve of a few waves."""
    angle, reach = np.arctan2(y, x), np.ones_like(x)
    for wave in range(2, 7):
        reach += rng.normal(0, 0.35 / wave) * np.cos(wave * angle + rng.uniform(0, 2 * math.pi))
    return np.maximum(reach, 0.25) - np.hypot(x, y)


def _polygon(rng: np.random.Generator, x: Plane, y: Plane) -> Plane:
    """Return depths in a convex polygon."""
    sides = int(rng.integers(3, 8))
    angles = np.sort(rng.uniform(0, 2 * math.pi, sides)) if rng.random() < 0.5 else (
        np.arange(sides) * 2 * math.pi / sides
    )  # fmt: skip
    depths = [
        rng.uniform(0.6, 1.0) - (math.cos(angle) * x + math.sin(angle) * y) for angle in angles
    ]
    # The circle closes figures that their sides leave open.
    return np.minimum(np.minimum.reduce(depths), 1.3 - np.hypot(x, y)).astype(np.float32)


def _limbs(rng: np.random.Generator, x: Plane, y: Plane) -> Plane:
    """Return depths in a body with limbs and a head: capsules that melt into each other."""
    total = np.exp(6 * (0.62 - np.hypot(x / 1.25, y)))
    for _ in range(int(rng.integers(2, 6))):
        angle, bend = rng.uniform(0, 2 * math.pi, 2)
        length, thick = rng.uniform(0.7, 1.4), rng.uniform(0.1, 0.28)
        end = np.array([math.cos(angle), math.sin(angle)]) * length
        end += 0.25 * np.array([math.cos(bend), math.sin(bend)])
        part = np.clip((x * end[0] + y * end[1]) / (end @ end), 0, 1)
        total += np.exp(6 * (thick - np.hypot(x - part * end[0], y - part * end[1])))
    return (np.log(total) / 6).astype(np.float32)


def shading(
    rng: np.random.Generator,
    size: tuple[int, int],
    centre: tuple[float, float],
    radius: float,
    depth: Plane,
) -> Plane:
    """Return the light on a rounded solid: brighter towards a lamp, darker at the rim."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    lamp = rng.uniform(0, 2 * math.pi)
    towards = ((x - centre[0]) * math.cos(lamp) + (y - centre[1]) * math.sin(lamp)) / radius
    rim = np.clip(depth * 3, 0, 1)
    return 0.7 + 0.25 * np.clip(towards, -1, 1) + 0.25 * rim


def random_texture(rng: np.random.Generator, size: tuple[int, int]) -> Plane:
    """Draw a surface (H, W, 3) in 0..255: noise, stripes, spots, tiles or a gradient."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    cloud = _noise(rng, size, rng.uniform(0.9, 2.2))
    kind = rng.choice(["noise", "stripes", "spots", "tiles", "gradient"])
    angle, period = rng.uniform(0, math.pi), math.exp(rng.uniform(math.log(6), math.log(60)))
    along = (x * math.cos(angle) + y * math.sin(angle)) * 2 * math.pi / period
    across = (y * math.cos(angle) - x * math.sin(angle)) * 2 * math.pi / period
    amount = {
        "noise": cloud,
        "stripes": 1.5 * np.sin(along + rng.uniform(0, 2) * cloud),
        "spots": 2.5 * np.sin(along + cloud) * np.sin(across + cloud),
        "tiles": 2 * np.sign(np.sin(along)) * np.sign(np.sin(across)) + 0.3 * cloud,
        "gradient": 0.02 * (x * math.cos(angle) + y * math.sin(angle)) + 0.4 * cloud,
    }[str(kind)]
    amount = 1 / (1 + np.exp(-amount))
    stops = int(rng.integers(2, 5))
    base, spread = rng.uniform(20, 235, 3), rng.uniform(15, 90)
    colours = base + rng.normal(0, spread, (stops, 3))
    planes = [np.interp(amount, np.linspace(0, 1, stops), colours[:, c]) for c in range(3)]
    grain = 1 + rng.uniform(0, 0.15) * _noise(rng, size, 0.6)
    return (np.stack(planes, -1) * grain[..., None]).clip(0, 255).astype(np.float32)


def _noise(rng: np.random.Generator, size: tuple[int, int], steepness: float) -> Plane:
    """Draw noise with spectrum 1 / f^steepness, mean 0 and deviation 1."""
    rows, columns = np.fft.fftfreq(size[0]), np.fft.rfftfreq(size[1])
    frequency = np.hypot(rows[:, None], columns[None, :])
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.normal(size=size)) / frequency**steepness
    noise = np.fft.irfft2(spectrum, s=size)
    return ((noise - noise.mean()) / noise.std()).astype(np.float32)
