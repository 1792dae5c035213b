#!/usr/bin/env python3
"""Draw scenes in which rmnet-small fails: contact sheets, and J by frame.

    python -m benchmarks.failures docs/lab --json benchmarks/results/failures.json

Each sheet shows frames, their true masks and the tracked masks. Of several variants of a scene
(`--seeds`), the one with the median J is drawn.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import rmnet
from benchmarks.machine import describe_machine
from rmnet.demo import Array, Sprite, draw_sprite, ground, marbled, sample, speckled, spotted
from rmnet.io import overlay
from rmnet.metrics import jaccard

HEIGHT, WIDTH, FRAMES = 480, 854, 30
SHOWN = (0, 8, 14, 20, 29)
TILE, GAP = 168, 3  # px: width of a frame on the sheet, and between two
NO_OBJECT = 0  # id of objects that are drawn but not tracked

Outline = Callable[[Array], Array]  # angles, radians, to radii
Layers = list[tuple[int, Sprite]]  # from back to front, with their ids
Path2 = Callable[[float], tuple[float, float]]


@dataclass(frozen=True)
class Scene:
    """Frames (T, H, W, 3) uint8 and labels (T, H, W) int32."""

    frames: NDArray[np.uint8]
    labels: NDArray[np.int32]


def blob(phase: float) -> Outline:
    """Return an outline like that of a potato."""
    return lambda a: 0.85 + 0.12 * np.cos(2 * a + phase) + 0.06 * np.cos(5 * a - phase)


def wheel(a: Array) -> Array:
    """Outline a hub with spokes."""
    return 0.16 + 0.8 * np.cos(6 * a) ** 60


def line(start: tuple[float, float], end: tuple[float, float]) -> Path2:
    """Return a straight path between two points in parts of the frame."""
    return lambda t: (
        (start[0] + (end[0] - start[0]) * t) * WIDTH,
        (start[1] + (end[1] - start[1]) * t) * HEIGHT,
    )


def sprite(outline: Outline, texture: Array, radius: float, path: Path2, turn: float) -> Sprite:
    """Make an object with a radius in parts of the frame's height."""
    return Sprite(outline, texture, radius * HEIGHT, path, (0.3, turn), 0.0)


def hidden(rng: np.random.Generator) -> Layers:
    """Let an object pass behind a large, busy one."""
    walker = sprite(blob(rng.uniform(0, 6)), speckled(rng), 0.13,
                    line((0.12, 0.55), (0.9, 0.5)), 0.8)  # fmt: skip
    wall = sprite(blob(rng.uniform(0, 6)), spotted(rng), 0.36, line((0.5, 0.5), (0.47, 0.5)), 0.2)
    return [(1, walker), (NO_OBJECT, wall)]


def twins(rng: np.random.Generator) -> Layers:
    """Let two objects that look the same cross."""
    coat, outline = marbled(rng), blob(rng.uniform(0, 6))
    return [
        (1, sprite(outline, coat, 0.15, line((0.15, 0.45), (0.85, 0.52)), 0.5)),
        (2, sprite(outline, coat, 0.15, line((0.85, 0.58), (0.15, 0.48)), -0.5)),
    ]


def thin(rng: np.random.Generator) -> Layers:
    """Roll an object of thin spokes in the colours of the ground."""
    return [(1, sprite(wheel, 0.55 * ground(rng), 0.3, line((0.2, 0.5), (0.8, 0.5)), 4.0))]


def alike(rng: np.random.Generator) -> Layers:
    """Let an object pass others of its kind that are not tracked."""
    coat = spotted(rng)
    others = [
        (NO_OBJECT, sprite(blob(rng.uniform(0, 6)), coat, 0.14, line((x, y), (x, y)), 0.0))
        for x, y in ((0.42, 0.34), (0.68, 0.68))
    ]
    goer = sprite(blob(rng.uniform(0, 6)), coat, 0.13, line((0.12, 0.5), (0.9, 0.5)), 1.0)
    return [*others, (1, goer)]


SCENES = {"hidden": hidden, "twins": twins, "thin": thin, "alike": alike}


def draw_scene(make: Callable[[np.random.Generator], Layers], seed: int) -> Scene:
    """Draw a scene; equal seeds draw equal scenes."""
    rng = np.random.default_rng([seed, FRAMES])
    earth, layers = ground(rng), make(rng)
    frames = np.empty((FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    labels = np.zeros((FRAMES, HEIGHT, WIDTH), np.int32)
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    for t in range(FRAMES):
        time = t / (FRAMES - 1)
        picture = sample(earth, 0.5 * y, 0.5 * x + 12 * time)
        for object_id, layer in layers:
            draw_sprite(picture, labels[t], object_id, layer, time)
        picture = picture + 1.5 * rng.standard_normal(picture.shape, np.float32)
        frames[t] = picture.round().clip(0, 255)
    return Scene(frames, labels)


def scores(found: NDArray[np.integer], truth: NDArray[np.int32]) -> dict[str, list[float | None]]:
    """Return J by object and frame; None where neither mask shows the object."""
    rows: dict[str, list[float | None]] = {}
    for object_id in np.unique(truth[truth > 0]).tolist():
        pairs = [(a == object_id, b == object_id) for a, b in zip(found, truth, strict=True)]
        rows[str(object_id)] = [
            round(jaccard(a, b), 3) if a.any() or b.any() else None for a, b in pairs
        ]
    return rows


def mean_j(rows: dict[str, list[float | None]]) -> float:
    """Return the mean over objects and frames after the first."""
    return float(np.mean([j for row in rows.values() for j in row[1:] if j is not None]))


def sheet(scene: Scene, found: NDArray[np.integer]) -> Image.Image:
    """Put frames, true masks and tracked masks below each other."""
    tall = round(TILE * HEIGHT / WIDTH)
    page = Image.new(
        "RGB", (len(SHOWN) * (TILE + GAP) - GAP, 3 * (tall + GAP) - GAP), (255, 255, 255)
    )
    for column, t in enumerate(SHOWN):
        frame = scene.frames[t]
        rows = [frame, overlay(frame, scene.labels[t], alpha=0.6),
                overlay(frame, found[t], alpha=0.6)]  # fmt: skip
        for row, tile in enumerate(rows):
            small = Image.fromarray(tile).resize((TILE, tall), Image.Resampling.BOX)
            page.paste(small, (column * (TILE + GAP), row * (tall + GAP)))
    return page


def main() -> None:
    """Track and draw every scene."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="folder for failure-SCENE.png")
    parser.add_argument("--weights", default="rmnet-small")
    parser.add_argument("--seeds", type=int, default=1, help="variants of each scene")
    parser.add_argument("--scenes", nargs="*", default=list(SCENES), choices=list(SCENES))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    segmenter = rmnet.RMNetSegmenter.from_pretrained(given.weights, device="cpu")
    report: dict[str, object] = {"rmnet": rmnet.__version__, **describe_machine()}
    for name in given.scenes:
        tried = []
        for seed in range(given.seeds):
            scene = draw_scene(SCENES[name], seed)
            found = segmenter.track(scene.frames, scene.labels[0]).labels
            rows = scores(found, scene.labels)
            tried.append((mean_j(rows), seed, rows, sheet(scene, found)))
            print(f"{name:<8} seed {seed}: J {mean_j(rows):.3f}", flush=True)
        tried.sort(key=lambda one: one[0])
        _, seed, rows, page = tried[(len(tried) - 1) // 2]
        small = page.quantize(48, dither=Image.Dither.NONE)
        small.save(given.folder / f"failure-{name}.png", optimize=True)
        report[name] = {"J by seed": {s: j for j, s, *_ in tried}, "drawn": seed, "J": rows}
    if given.json:
        given.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
