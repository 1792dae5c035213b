"""Pictures for the prompt network: one object each, as tensors of one size."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from rmnet.io import VOID, read_label_png
from training.colours import change_colours, random_change

CANVAS = 416  # px, side of the square that pictures are padded to; larger ones are shrunk
HELD_OUT = 500  # stills that are never trained on
LEAST_PART, MOST_PART = 0.004, 0.8  # of the picture, of objects that are prompted for
FRAME_STEP = 3  # every third frame of training clips is a picture


@dataclass(frozen=True)
class PromptBatch:
    """B pictures with an object each.

    Attributes:
        images: (B, 3, CANVAS, CANVAS) float32 RGB in [0, 255], zeros around the picture.
        truth: (B, 1, CANVAS, CANVAS) float32, 1 on the object.
        void: (B, 1, CANVAS, CANVAS) float32, 1 where the object's border is unknown.
        boxes: (B, 4) float32, px, around the object.
        sizes: (B, 2) float32, width and height of the picture, px.
        clicks: (B, 2) float32, px, a point inside the object.
    """

    images: Tensor
    truth: Tensor
    void: Tensor
    boxes: Tensor
    sizes: Tensor
    clicks: Tensor


def find_pictures(data: Path, held_out: int = HELD_OUT) -> tuple[list[Path], list[Path]]:
    """Return image files to train on, and held-out stills; a label PNG lies beside each."""
    stills = sorted(data.glob("train/stills/*/*.webp"))
    random.Random(7).shuffle(stills)
    frames = sorted(data.glob("train/clips/*/*.webp"))
    return stills[held_out:] + frames[::FRAME_STEP], stills[:held_out]


def objects_of(labels: NDArray[np.uint8]) -> list[int]:
    """Return the ids in a label map (H, W) that are neither crumbs nor the whole picture."""
    counts = np.bincount(labels.ravel(), minlength=256)
    bounds = LEAST_PART * labels.size, MOST_PART * labels.size
    return [i for i in range(1, VOID) if bounds[0] <= counts[i] <= bounds[1]]


def draw_batch(paths: list[Path], rng: np.random.Generator, count: int) -> PromptBatch:
    """Read `count` random pictures, mirror half of them, change their colours, choose objects."""
    samples = []
    while len(samples) < count:
        sample = _draw(paths[rng.integers(len(paths))], rng)
        if sample is not None:
            samples.append(sample)
    return PromptBatch(*(torch.stack(column) for column in zip(*samples, strict=True)))


def click_inside(mask: Tensor, rng: np.random.Generator) -> Tensor:
    """Draw a point (2,), x first, among the pixels of a mask (H, W) that have most of it around."""
    density = F.avg_pool2d(mask[None, None].float(), 21, stride=1, padding=10)[0, 0] * mask
    y, x = torch.nonzero(density >= rng.uniform(0.2, 1.0) * density.max(), as_tuple=True)
    choice = int(rng.integers(len(x)))
    return torch.stack((x[choice], y[choice])).float() + 0.5


def _draw(path: Path, rng: np.random.Generator) -> tuple[Tensor, ...] | None:
    with Image.open(path) as image:
        picture = image.convert("RGB")
    map_image = Image.fromarray(read_label_png(path.with_suffix(".png")).astype(np.uint8))
    scale = min(1.0, CANVAS / max(picture.size)) * rng.uniform(0.75, 1.0)
    width, height = size = (
        max(32, round(picture.width * scale)),
        max(32, round(picture.height * scale)),
    )
    if size != picture.size:
        picture = picture.resize(size, Image.Resampling.BILINEAR)
        map_image = map_image.resize(size, Image.Resampling.NEAREST)
    labels = np.array(map_image)
    ids = objects_of(labels)
    if not ids:
        return None
    labels, pixels = torch.from_numpy(labels), torch.from_numpy(np.array(picture)).permute(2, 0, 1)
    if rng.random() < 0.5:
        labels, pixels = labels.flip(1), pixels.flip(2)
    truth = labels == ids[rng.integers(len(ids))]
    row = torch.from_numpy(random_change(rng, 0.7).row).float()[None]
    pixels = change_colours(pixels.float()[None, :, None], row)[0, :, 0].clamp(0, 255)
    columns, rows = truth.any(0).nonzero()[:, 0], truth.any(1).nonzero()[:, 0]
    box = torch.stack((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)).float()
    margins = (0, CANVAS - width, 0, CANVAS - height)
    planes = (
        F.pad(x, margins) for x in (pixels, truth[None].float(), (labels == VOID)[None].float())
    )
    return (
        *planes,
        box,
        torch.tensor([width, height], dtype=torch.float32),
        click_inside(truth, rng),
    )
