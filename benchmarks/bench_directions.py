#!/usr/bin/env python3
"""J of tracking forward, backward and both ways, and peak memory of a long file.

    python -m benchmarks.bench_directions ROOT --json benchmarks/results/directions.json

ROOT holds clips in DAVIS layout. Their last frame here is the last that shows every object of the
first. J is the mean over all frames between these two, in every column, and then over objects.
Peak memory is that of fresh processes that track files of 200 and 2,000 frames from their end.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import describe_machine
from rmnet import RMNetSegmenter
from rmnet.demo import make_clip
from rmnet.io import VideoWriter, open_frames, read_label_png
from rmnet.metrics import jaccard
from rmnet.tracking import Direction

LENGTHS = (200, 2000)  # frames
FILE_SIZE = (240, 426)  # pixels; 2,000 such frames are 0.6 GB
FILE_SHORTER_SIDE = 64  # inside the network; not what is measured
CLIP_LENGTH = 60  # frames of the clip that is repeated in the files

Labels = NDArray[np.integer[Any]]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path, help="folder with JPEGImages/480p and Annotations/480p")
    parser.add_argument("--weights", default="rmnet-small")
    parser.add_argument("--clips", nargs="*", help="names of clips; default: all")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--peak", nargs=2, metavar=("FILE", "DIRECTION"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    segmenter = RMNetSegmenter.from_pretrained(args.weights, device="cpu")
    if args.peak:
        print(json.dumps(track_file(segmenter, *args.peak)))
        return
    report: dict[str, Any] = {"machine": describe_machine(), "clips": {}}
    names = args.clips or sorted(x.name for x in (args.root / "Annotations" / "480p").iterdir())
    for name in names:
        report["clips"][name] = track_clip(segmenter, args.root, name)
        print(name, json.dumps(report["clips"][name]), flush=True)
    columns = {key for clip in report["clips"].values() for key in clip["J"]}
    report["means"] = {
        column: float(np.mean([j for clip in report["clips"].values() for j in clip["J"][column]]))
        for column in sorted(columns)
    }
    print("mean over objects", json.dumps(report["means"]), flush=True)
    report["files"] = measure_files(args)
    print(json.dumps(report["files"], indent=1))
    if args.json is not None:
        args.json.write_text(json.dumps(report, indent=1) + "\n")


def track_clip(segmenter: RMNetSegmenter, root: Path, name: str) -> dict[str, Any]:
    """Return J of each object by column, and seconds per frame by column."""
    files = sorted((root / "Annotations" / "480p" / name).iterdir())
    truth = [read_label_png(file) for file in files]
    ids = [int(i) for i in np.unique(truth[0]) if i not in (0, 255)]
    last = max(t for t, labels in enumerate(truth) if np.isin(ids, labels).all())
    frames = list(open_frames(root / "JPEGImages" / "480p" / name))[: last + 1]
    columns: dict[str, tuple[Direction, list[int]]] = {
        "first": ("forward", [0]),
        "last": ("backward", [last]),
        "middle": ("both", [nearest_with_all(truth, ids, last // 2)]),
        "ends": ("both", [0, last]),
        "ends and middle": ("both", [0, nearest_with_all(truth, ids, last // 2), last]),
    }
    found: dict[str, Any] = {"last": last, "objects": len(ids), "J": {}, "seconds_a_frame": {}}
    for column, (direction, given) in columns.items():
        masks = {t: truth[t] for t in given}
        start = time.perf_counter()
        results = segmenter.track(frames, masks=masks, direction=direction)
        seconds = time.perf_counter() - start
        found["J"][column] = [mean_j([x.labels for x in results], truth, i, last) for i in ids]
        found["seconds_a_frame"][column] = seconds / len(frames)
    return found


def nearest_with_all(truth: list[Labels], ids: list[int], wanted: int) -> int:
    """Return the frame nearest to the wanted one that shows every object."""
    return min(
        (t for t, labels in enumerate(truth) if np.isin(ids, labels).all()),
        key=lambda t: abs(t - wanted),
    )


def mean_j(found: list[Labels], truth: list[Labels], object_id: int, last: int) -> float:
    """Return the mean J of an object between the first frame and the last."""
    return float(
        np.mean([jaccard(found[t] == object_id, truth[t] == object_id) for t in range(1, last)])
    )


def measure_files(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Track video files of two lengths in processes of their own."""
    clip = make_clip(num_frames=CLIP_LENGTH, size=FILE_SIZE)
    order = [*range(CLIP_LENGTH), *range(CLIP_LENGTH - 2, 0, -1)]  # there and back
    rows = []
    with tempfile.TemporaryDirectory(dir=".") as folder:  # /tmp may lie in memory
        for length in LENGTHS:
            path = Path(folder) / f"{length}.mp4"
            with VideoWriter(path, frames_per_second=25) as writer:
                for t in range(length):
                    writer.write(clip.frames[order[t % len(order)]])
            mask = clip.labels[order[(length - 1) % len(order)]]
            np.save(path.with_suffix(".npy"), mask == 1)
            for direction in ("forward", "backward", "both"):
                command = [sys.executable, "-m", "benchmarks.bench_directions", str(args.root)]
                command += ["--weights", args.weights, "--peak", str(path), direction]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                rows.append({"frames": length, "direction": direction, **json.loads(done.stdout)})
    return rows


def track_file(segmenter: RMNetSegmenter, name: str, direction: Direction) -> dict[str, float]:
    """Track a file from the mask beside it; return peak memory and time."""
    path = Path(name)
    mask = np.load(path.with_suffix(".npy"))
    at = 0 if direction == "forward" else int(path.stem) - 1
    masks = {at: mask} if direction != "both" else {0: mask, at: mask}
    start = time.perf_counter()
    stream = segmenter.stream(path, masks=masks, direction=direction, size=FILE_SHORTER_SIDE)
    count = sum(1 for _ in stream)
    return {
        "milliseconds_a_frame": 1000 * (time.perf_counter() - start) / count,
        "peak_megabytes": peak_kilobytes() / 1024,
    }


def peak_kilobytes() -> int:
    """Return the peak memory of this program; getrusage's includes that of its parent."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    main()
