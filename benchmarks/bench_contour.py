#!/usr/bin/env python3
"""Time the contour accuracy F of 480p frames against other ways to compute it.

    OMP_NUM_THREADS=1 python -m benchmarks.bench_contour --json contour.json

Variants: `library`, byte shifts over the rectangle of both contours; `opencv`, contours of the
whole frame dilated by a disk; `points`, every contour pixel looks up the disk around it, near
pixels first; `integers`, the rows of the rectangle as one long Python integer, dilated by bit shifts. The
variants take turns at scoring a short clip of one object that covers the given share of the frame;
medians and ratios are printed. Needs rmnet[benchmarks].
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import describe_machine
from rmnet.metrics import contour_accuracy

Mask = NDArray[np.bool_]
SIZE = (480, 854)
NUM_FRAMES = 6
RADIUS = 8  # px, ceil(0.008 of the diagonal)


def main() -> None:
    """Print one row per case."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--shares", nargs="*", type=float, default=[0.01, 0.03, 0.06, 0.12, 0.25])
    parser.add_argument("--errors", nargs="*", type=float, default=[0.02, 0.2])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    rows = []
    print(f"{'share':>6}{'F':>7}   ms a frame: " + "".join(f"{name:>10}" for name in VARIANTS))
    for share in arguments.shares:
        for error in arguments.errors:
            pair = blob(share, wobble=error), blob(share, wobble=0.0)
            clip = [
                (np.roll(pair[0], 5 * t, axis=1), np.roll(pair[1], 5 * t, axis=1))
                for t in range(NUM_FRAMES)
            ]
            times = measure(clip, arguments.repeats)
            score = library(*pair)
            rows.append({"share": share, "F": score, "ms": times})
            cells = "".join(f"{t:>10.3f}" for t in times.values())
            print(f"{share:>6.2f}{score:>7.3f}               {cells}   {times_library(times)}")
    total: dict[str, float] = {name: sum(row["ms"][name] for row in rows) for name in VARIANTS}
    print(f"all cases: {times_library(total)}")
    if arguments.json:
        arguments.json.write_text(
            json.dumps(
                {
                    **describe_machine(),
                    "opencv": cv2.__version__,
                    "numpy": np.__version__,
                    "rows": rows,
                },
                indent=2,
            )
            + "\n"
        )


def blob(share: float, *, wobble: float) -> Mask:
    """Draw a lobed object on about `share` of the frame, with ripples of `wobble` of its radius."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    y, x = y - 0.48 * SIZE[0], x - 0.53 * SIZE[1] - 20 * wobble
    angle = np.arctan2(y, x)
    radius = math.sqrt(share * SIZE[0] * SIZE[1] / math.pi)
    lobes = 1 + 0.2 * np.cos(3 * angle) + 0.1 * np.cos(5 * angle) + wobble * np.cos(17 * angle)
    return np.hypot(y, x) < radius * lobes


def measure(clip: list[tuple[Mask, Mask]], repeats: int) -> dict[str, float]:
    """Return the median time of each variant, ms per frame, taken in turns."""
    for name, variant in VARIANTS.items():  # also the warm-up
        if abs(variant(*clip[0]) - library(*clip[0])) > 1e-9:
            raise SystemExit(f"{name} computes something else")
    times: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for _ in range(repeats):
        for name, variant in VARIANTS.items():
            start = time.perf_counter()
            for pair in clip:
                variant(*pair)
            times[name].append(1000 * (time.perf_counter() - start) / len(clip))
    return {name: statistics.median(values) for name, values in times.items()}


def times_library(times: dict[str, float]) -> str:
    """Say how many times longer than the library the others take."""
    others = (name for name in times if name != "library")
    return ", ".join(f"{name} {times[name] / times['library']:.1f}x" for name in others)


def library(prediction: Mask, truth: Mask) -> float:
    """Call the library."""
    return contour_accuracy(prediction, truth)


def opencv(prediction: Mask, truth: Mask) -> float:
    """Dilate both contours of the whole frame by a disk."""
    predicted, true = contour(prediction), contour(truth)
    kernel = disk().astype(np.uint8)
    near_predicted = cv2.dilate(predicted.view(np.uint8), kernel).view(bool)
    near_true = cv2.dilate(true.view(np.uint8), kernel).view(bool)
    return f_of(predicted & near_true, predicted, true & near_predicted, true)


def points(prediction: Mask, truth: Mask) -> float:
    """Look up the disk around every contour pixel."""
    predicted, true = (np.pad(contour(mask), RADIUS) for mask in crop_to_both(prediction, truth))
    y, x = np.nonzero(disk())
    y, x = y - RADIUS, x - RADIUS
    offsets = (y * predicted.shape[1] + x)[np.argsort(x * x + y * y)]

    def near(pixels: Mask, others: Mask) -> Mask:
        at, line = np.flatnonzero(pixels), others.reshape(-1)
        found = np.zeros(len(at), bool)
        left = np.arange(len(at))
        for some in np.split(offsets, (1, 13, 49)):
            found[left] = line[at[left, None] + some].any(axis=1)
            left = np.flatnonzero(~found)
        return found

    return f_of(near(predicted, true), predicted, near(true, predicted), true)


def integers(prediction: Mask, truth: Mask) -> float:
    """Dilate all rows as one long integer, by bit shifts."""
    predicted, true = (contour(mask) for mask in crop_to_both(prediction, truth))
    stride = -(-(true.shape[1] + RADIUS) // 8) * 8

    def packed(pixels: Mask) -> int:
        padded = np.zeros((len(pixels), stride), bool)
        padded[:, : pixels.shape[1]] = pixels
        return int.from_bytes(np.packbits(padded).tobytes(), "big")

    def dilated(bits: int) -> int:
        run, near, width = bits, bits, 0
        for dy in range(RADIUS, -1, -1):
            while width < math.isqrt(RADIUS**2 - dy**2):
                width += 1
                run |= bits << width | bits >> width
            near |= run << dy * stride | run >> dy * stride
        return near

    first, second = packed(predicted), packed(true)
    counts = (first & dilated(second), first, second & dilated(first), second)
    return f_score(*(bits.bit_count() for bits in counts))


def contour(mask: Mask) -> Mask:
    """Mark pixels that differ from their right, lower or lower right neighbour."""
    found = np.zeros(mask.shape, bool)
    found[:, :-1] |= mask[:, :-1] ^ mask[:, 1:]
    found[:-1] |= mask[:-1] ^ mask[1:]
    found[:-1, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
    return found


def disk() -> Mask:
    """Return a mask of the offsets within the radius."""
    y, x = np.ogrid[-RADIUS : RADIUS + 1, -RADIUS : RADIUS + 1]
    return x * x + y * y <= RADIUS * RADIUS


def crop_to_both(prediction: Mask, truth: Mask) -> tuple[Mask, Mask]:
    """Crop both masks to their common rectangle and 1 px around."""
    either = prediction | truth
    y, x = (np.flatnonzero(either.any(axis=axis)) for axis in (1, 0))
    box = slice(max(y[0] - 1, 0), y[-1] + 2), slice(max(x[0] - 1, 0), x[-1] + 2)
    return prediction[box], truth[box]


def f_of(*maps: Mask) -> float:
    """Compute F from four maps."""
    return f_score(*(int(np.count_nonzero(pixels)) for pixels in maps))


def f_score(predicted_near: int, predicted: int, true_near: int, true: int) -> float:
    """Return the harmonic mean of precision and recall."""
    precision, recall = predicted_near / predicted, true_near / true
    return 2 * precision * recall / (precision + recall)


VARIANTS: dict[str, Callable[[Mask, Mask], float]] = {
    "library": library,
    "opencv": opencv,
    "points": points,
    "integers": integers,
}


if __name__ == "__main__":
    main()
