#!/usr/bin/env python3
"""Measure how often soft masks are misread, and how often label maps are refused or thresholded.

    RMNET_DATA=DATA python -m benchmarks.soft_masks --json benchmarks/results/soft_masks.json

DATA holds real masks: `davis480/Annotations/480p/CLIP/*.png` and `train/**/*.png`; without it, only
drawn shapes are used. Soft masks are made by resizing (x0.25 to x4, five filters), Gaussian blur
(0.5 to 8 px) and JPEG (quality 30 to 95).
"""

from __future__ import annotations

import argparse
import io
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from benchmarks.machine import describe_machine
from rmnet.errors import MaskError
from rmnet.io.softness import soft_threshold

Labels = NDArray[np.uint8]
FILTERS = ("BILINEAR", "BICUBIC", "LANCZOS", "BOX", "HAMMING")
SCALES = (0.25, 0.5, 2.0, 3.0, 4.0)
RADII = (0.5, 1.0, 2.0, 3.0, 5.0, 8.0)


def draw_shapes(rng: np.random.Generator) -> Labels:
    """Draw one to three boxes and ellipses as 1 on 0."""
    width, height = (int(side) for side in rng.integers(80, 400, 2))
    image = Image.new("L", (width, height))
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(1, 4)):
        x, y = int(rng.integers(0, width - 40)), int(rng.integers(0, height - 40))
        w, h = int(rng.integers(40, width - x + 1)), int(rng.integers(40, height - y + 1))
        shape = draw.rectangle if rng.random() < 0.6 else draw.ellipse
        shape((x, y, x + w - 1, y + h - 1), 1)
    return np.asarray(image)


def soften(rng: np.random.Generator, pixels: Labels) -> Labels:
    """Resize, blur or compress at random."""
    image = Image.fromarray(pixels)
    kind = rng.choice(["resize", "blur", "jpeg", "resize and jpeg"])
    if "resize" in kind:
        any_scale = float(np.exp(rng.uniform(np.log(0.25), np.log(4))))
        scale = any_scale if rng.random() < 0.5 else float(rng.choice(SCALES))
        size = (max(8, round(image.width * scale)), max(8, round(image.height * scale)))
        image = image.resize(size, Image.Resampling[str(rng.choice(FILTERS))])
    if kind == "blur":
        image = image.filter(ImageFilter.GaussianBlur(float(rng.choice(RADII))))
    if "jpeg" in kind:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=int(rng.integers(30, 96)))
        image = Image.open(buffer)
    return np.asarray(image)


def draw_regions(rng: np.random.Generator) -> Labels:
    """Fill a map with up to 255 adjacent regions, like superpixels."""
    height, width = rng.integers(60, 300, 2)
    y, x = np.mgrid[:height, :width]
    seeds = rng.random((int(rng.integers(2, 256)), 2)) * (height, width)
    ids = rng.permutation(len(seeds)) + 1
    nearest, labels = np.full(y.shape, np.inf), np.zeros(y.shape, np.uint8)
    for (row, column), object_id in zip(seeds, ids, strict=True):
        distance = (y - row) ** 2 + (x - column) ** 2
        labels[distance < nearest] = object_id
        nearest = np.minimum(nearest, distance)
    return labels


def draw_thin(rng: np.random.Generator) -> Labels:
    """Draw up to 60 lines or dots of 1 or 2 px, half of the time beside a solid object."""
    width, height = (int(side) for side in rng.integers(80, 300, 2))
    image, count = Image.new("L", (width, height)), int(rng.integers(1, 61))
    draw = ImageDraw.Draw(image)
    if rng.random() < 0.5:
        x, y = (int(at) for at in rng.integers(5, 40, 2))
        draw.rectangle((x, y, x + 30, y + 30), int(rng.choice([255, 200, count + 1])))
    lines = rng.random() < 0.5
    for object_id in range(1, count + 1):
        ends = [int(at) for at in rng.integers(0, min(width, height), 4)]
        if lines:
            draw.line(ends, object_id, int(rng.integers(1, 3)))
        else:
            image.putpixel((ends[0], ends[1]), object_id)
    return np.asarray(image)


def draw_crowd(rng: np.random.Generator) -> Labels:
    """Draw 20 to 400 ellipses of any size that cover each other."""
    image = Image.new("L", (320, 240))
    draw = ImageDraw.Draw(image)
    for number in range(rng.integers(20, 400)):
        x, y, radius = *rng.uniform((0, 0), (320, 240)), np.exp(rng.uniform(0, 3.3))
        tall = radius * rng.uniform(0.4, 2.5)
        draw.ellipse((x - radius, y - tall, x + radius, y + tall), number % 254 + 1)
    return np.asarray(image)


def line_with_void(rng: np.random.Generator, labels: Labels) -> Labels:
    """Turn contours of 1 to 8 px into void, as in PASCAL VOC."""
    padded = np.pad(labels, 1, mode="edge")
    height, width = labels.shape
    near = [padded[y : y + height, x : x + width] for y in range(3) for x in range(3)]
    void = np.logical_or.reduce([one != labels for one in near])
    for _ in range(rng.integers(0, 4)):
        padded = np.pad(void, 1)
        near = [padded[y : y + height, x : x + width] for y in range(3) for x in range(3)]
        void = np.logical_or.reduce(near)
    return np.where(void, 255, labels).astype(np.uint8)


def _listed(root: Path, pattern: str) -> list[Path]:
    return sorted(root.glob(pattern))


def read(path: Path) -> Labels:
    """Read the values of a mask as they are."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("L") if image.mode in ("1", "LA") else image)
    return pixels.astype(np.uint8)


def cases(rng: np.random.Generator, root: Path | None, count: int) -> Iterator[tuple[str, Labels]]:
    """Yield kinds and maps: `soft ...` must not be read as label maps, `map ...` must."""
    binary, objects = [], []
    if root is not None:
        binary = _listed(root, "davis480/Annotations/480p/*/*.png")
        binary += _listed(root, "train/davis/*/*.png")
        objects = _listed(root, "train/stills/*/*.png")
    for _ in range(count):
        yield "soft, drawn boxes and ellipses", soften(rng, draw_shapes(rng) * np.uint8(255))
        yield "map, adjacent regions", draw_regions(rng)
        yield "map, thin lines and dots", draw_thin(rng)
        yield "map, crowds", draw_crowd(rng)
        yield "map, adjacent regions and void contours", line_with_void(rng, draw_regions(rng))
    for path in rng.permutation(np.array(binary, object))[:count]:
        mask = read(path) > 0
        if mask.sum() >= 100:
            yield "soft, DAVIS", soften(rng, mask.astype(np.uint8) * np.uint8(255))
    for path in rng.permutation(np.array(objects, object))[: 10 * count]:
        labels = read(path)
        num_ids = int(labels.max())
        yield "map, real objects", labels
        yield "map, real objects and void contours", line_with_void(rng, labels)
        if num_ids > 1:
            small = Image.fromarray(labels).resize((64, 48), Image.Resampling.NEAREST)
            yield "map, real objects at 64x48", np.asarray(small)
            grey = labels * np.uint8(255 // num_ids)
            softened = soften(rng, grey)
            if not np.isin(softened, grey).all():  # else only enlarged, without new levels
                yield "soft, real objects, greys far apart", softened
            yield "soft, real objects, ids 1 to N", soften(rng, labels)


def verdict(labels: Labels) -> str:
    """Return what becomes of a map at the door."""
    if len(np.unique(labels[labels > 0])) < 2:
        return "clean"
    try:
        return "label map" if soft_threshold(labels) is None else "thresholded"
    except MaskError:
        return "refused"


def main() -> None:
    """Print a table and write it as JSON."""
    parser = argparse.ArgumentParser(
        description="Measure how often soft masks and label maps are misread."
    )
    parser.add_argument("--count", type=int, default=150, help="masks of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    data = os.environ.get("RMNET_DATA")
    table: dict[str, Counter[str]] = {}
    for kind, labels in cases(
        np.random.default_rng(args.seed), Path(data) if data else None, args.count
    ):
        table.setdefault(kind, Counter())[verdict(labels)] += 1
    verdicts = ("clean", "thresholded", "refused", "label map")
    print(f"| {'kind':<42} | {' | '.join(verdicts)} |")
    rows: list[dict[str, Any]] = []
    for kind, found in sorted(table.items()):
        rows.append({"kind": kind, **{one: found[one] for one in verdicts}})
        print(f"| {kind:<42} | {' | '.join(f'{found[one]:>{len(one)}}' for one in verdicts)} |")
    if args.json is not None:
        args.json.write_text(json.dumps({"machine": describe_machine(), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
