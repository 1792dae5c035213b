#!/usr/bin/env python3
"""Track a very long video, and record memory, time per frame and J throughout.

    OMP_NUM_THREADS=1 python -m benchmarks.long_run --json benchmarks/results/long_run.json \
        --picture docs/lab/long-run.png

Two discs with textures of the demo move side by side over its ground, on paths that never repeat;
the truth is known in every frame. In turns, one is removed and another is added under a new id.
Every 500 frames both are corrected. Times are processor times of the steps alone.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.machine import describe_machine
from rmnet import MemoryPolicy, RMNetSegmenter
from rmnet.demo import Array, ground, marbled, sample, speckled, spotted
from rmnet.metrics import jaccard

LIFE = 700  # frames from the arrival of an object to its removal
CORRECT_EVERY = 500
BIN = 500  # frames that each number of the report covers


@dataclass(frozen=True)
class Disc:
    """An object whose centre stays in one half of the frame, so that no other hides it."""

    object_id: int
    texture: Array
    radius: float
    rates: tuple[float, float, float, float]
    phases: tuple[float, float, float, float]

    def centre(self, t: int, size: tuple[int, int]) -> tuple[float, float]:
        """Return the centre (y, x) at frame t, px."""
        waves = [np.sin(r * t + p) for r, p in zip(self.rates, self.phases, strict=True)]
        y = 0.5 + 0.15 * (waves[0] + 0.6 * waves[1])
        x = (0.25 if self.object_id % 2 else 0.75) + 0.07 * (waves[2] + 0.6 * waves[3])
        return float(y * size[0]), float(x * size[1])


class World:
    """Endless frames and labels; equal seeds give equal ones."""

    def __init__(self, size: tuple[int, int], seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self._size, self._rng = size, rng
        self._ground = ground(rng)
        self._textures = [spotted(rng), marbled(rng), speckled(rng)]
        self._grid = np.mgrid[: size[0], : size[1]].astype(np.float32)
        self.discs = {number: self._disc(number) for number in (1, 2)}

    def replace(self, object_id: int) -> int:
        """Replace a disc, and return the id of the new one."""
        del self.discs[object_id]
        new = object_id + 2  # so that the two discs differ in texture
        self.discs[new] = self._disc(new)
        return new

    def frame(self, t: int) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
        """Draw frame t, (H, W, 3) uint8, and its labels (H, W)."""
        y, x = self._grid
        picture = sample(self._ground, 1.5 * y + 20 * np.sin(t / 300), 1.5 * x + 0.2 * t)
        labels = np.zeros(self._size, np.int32)
        for disc in self.discs.values():
            centre_y, centre_x = disc.centre(t, self._size)
            local_y, local_x = y - centre_y, x - centre_x
            distance = np.hypot(local_y, local_x)
            cover = np.clip(disc.radius - distance + 0.5, 0, 1)[..., None]
            colours = sample(disc.texture, 3 * local_y, 3 * local_x)
            light = 1.15 - 0.5 * (distance / disc.radius)[..., None] ** 2
            picture = picture * (1 - cover) + colours * light * cover
            labels[distance <= disc.radius] = disc.object_id
        picture += 1.5 * self._rng.standard_normal(picture.shape, np.float32)
        return picture.round().clip(0, 255).astype(np.uint8), labels

    def _disc(self, object_id: int) -> Disc:
        rates = self._rng.uniform(0.008, 0.03, 4)
        phases = self._rng.uniform(0, 2 * np.pi, 4)
        radius = self._rng.uniform(0.22, 0.27) * self._size[0]
        texture = self._textures[(object_id - 1) % 3]
        return Disc(object_id, texture, float(radius), tuple(rates), tuple(phases))


def run(num_frames: int, size: tuple[int, int], weights: str) -> Iterator[dict[str, Any]]:
    """Track the world, and yield the report so far after each bin."""
    segmenter = RMNetSegmenter.from_pretrained(weights, device="cpu")
    session = segmenter.start(memory=MemoryPolicy())
    world = World(size)
    events = {"added": 0, "corrected": 0, "removed": 0}
    rows: list[dict[str, float]] = []
    seconds: list[float] = []
    scores: list[float] = []
    arrived: int | None = None
    for t in range(num_frames):
        frame, truth = world.frame(t)
        start = time.process_time()
        result = session.step(frame, truth if t == 0 else None)
        seconds.append(time.process_time() - start)
        if t > 0:
            ids = [i for i in result.object_ids if (truth == i).any()]  # not wholly covered
            scores += [jaccard(result.labels == i, truth == i) for i in ids]
        if t % CORRECT_EVERY == CORRECT_EVERY - 1:
            session.correct({i: truth == i for i in session.objects})
            events["corrected"] += 1
        if arrived is not None:
            session.add_objects({arrived: truth == arrived})
            arrived = None
        if t % (LIFE // 2) == LIFE // 2 - 1:  # the new object appears in the next frame
            oldest = session.objects[0]
            session.remove_objects(oldest)
            arrived = world.replace(oldest)
            events["removed"] += 1
            events["added"] += 1
        if t % BIN == BIN - 1:
            gc.collect()
            stats = session.memory_stats()
            rows.append(
                {
                    "frame": t + 1,
                    "cpu_seconds": statistics.median(seconds),
                    "cpu_seconds_p95": statistics.quantiles(seconds, n=20)[-1],
                    "resident_mb": resident_mb(),
                    "jaccard": statistics.fmean(scores),
                    "memory_frames": len(stats.frames),
                    "memory_mb": stats.num_bytes / 1e6,
                    "oldest_frame": stats.frames[0],
                }
            )
            print(json.dumps(rows[-1]), flush=True)
            seconds, scores = [], []
            yield {
                "frames": t + 1,
                "size": size,
                "weights": weights,
                "events": events,
                "bins": rows,
            }


def resident_mb() -> float:
    """Return the resident memory of this process, MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def draw(report: dict[str, Any], path: Path) -> None:
    """Draw three curves over the frames."""
    from matplotlib.figure import Figure

    rows = report["bins"]
    frames = [row["frame"] for row in rows]
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots(3, 1, sharex=True)
    curves = (
        ("resident_mb", "resident, MB", 1),
        ("cpu_seconds", "CPU ms a frame", 1000),
        ("jaccard", "mean J", 1),
    )
    for axis, (name, label, factor) in zip(axes, curves, strict=True):
        values = [factor * row[name] for row in rows]
        axis.plot(frames, values, color="#1f5f8b")
        axis.set_ylabel(label)
        axis.set_ylim(0, 1.15 * max(values))
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel("frame")
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure, report and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--size", type=int, nargs=2, default=(64, 128), metavar=("H", "W"))
    parser.add_argument("--weights", default="rmnet-small")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    machine = describe_machine()
    for bins in run(args.frames, tuple(args.size), args.weights):
        report = {"machine": machine, **bins}
        if args.json is not None:  # after every bin, so that little is lost
            args.json.write_text(json.dumps(report, indent=1) + "\n")
        if args.picture is not None:
            draw(report, args.picture)


if __name__ == "__main__":
    main()
