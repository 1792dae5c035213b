#!/usr/bin/env python3
"""Track clips in DAVIS layout: J a clip, seconds a frame, peak memory; written as JSON.

    python benchmarks/track_davis.py ROOT --json results.json

J is the mean over objects and over all frames but the first; the floor repeats the first mask.
This is no DAVIS score: that one also needs F, and leaves out the last frame.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import time
from pathlib import Path

import numpy as np
import torch

import rmnet
from rmnet.label_png import read_label_png
from rmnet.metrics import jaccard
from rmnet.video import open_frames


def main() -> None:
    """Run every clip and print a row for each."""
    arguments = parse_arguments()
    segmenter = rmnet.RMNetSegmenter.from_pretrained(arguments.weights, device=arguments.device)
    folders = sorted((arguments.root / "Annotations" / "480p").iterdir())
    names = arguments.clips or [folder.name for folder in folders]
    size = arguments.size if arguments.size in (None, "native") else int(arguments.size)
    flow = "none" if arguments.no_flow else None
    rows = []
    print(f"{'clip':<14}{'frames':>7}{'objects':>8}{'J':>8}{'floor':>8}{'s/frame':>9}{'MB':>7}")
    for name in names:
        row = run_clip(segmenter, arguments.root, name, size=size, flow=flow)
        rows.append(row)
        print(
            f"{name:<14}{row['frames']:>7}{row['objects']:>8}{row['J']:>8.3f}{row['floor']:>8.3f}"
            f"{row['seconds_a_frame']:>9.3f}{row['peak_megabytes']:>7.0f}",
            flush=True,
        )
    single = [row for row in rows if row["objects"] == 1]
    for label, some in (("one object", single), ("all", rows)):
        if some:
            mean = {key: float(np.mean([row[key] for row in some])) for key in ("J", "floor")}
            print(f"mean, {label}: J {mean['J']:.3f}, floor {mean['floor']:.3f}")
    if arguments.json:
        report = {"rmnet": rmnet.__version__, **machine(), "options": describe(arguments)}
        arguments.json.write_text(json.dumps({**report, "clips": rows}, indent=2) + "\n")


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, help="folder with JPEGImages/480p and Annotations/480p")
    parser.add_argument("--weights", default="rmnet-small")
    parser.add_argument("--device", default=None)
    parser.add_argument("--size", default=None, help="px of the shorter side, or native")
    parser.add_argument("--no-flow", action="store_true", help="search around the previous mask")
    parser.add_argument("--clips", nargs="*", help="default: all")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def run_clip(segmenter, root, name, *, size, flow):  # noqa: ANN001, ANN201
    """Track one clip with the mask of its first frame."""
    truth = [read_label_png(p) for p in sorted((root / "Annotations" / "480p" / name).iterdir())]
    frames = open_frames(root / "JPEGImages" / "480p" / name)
    # Not all masks of a clip are used, and not all frames have one: file by file is DAVIS's order.
    start = time.perf_counter()
    results = [r.labels for r in segmenter.stream(frames, truth[0], size=size, flow=flow)]
    seconds = time.perf_counter() - start
    ids = [int(i) for i in np.unique(truth[0]) if i not in (0, 255)]
    return {
        "clip": name,
        "frames": len(results),
        "objects": len(ids),
        "J": mean_jaccard(results, truth, ids),
        "floor": mean_jaccard([truth[0]] * len(truth), truth, ids),
        "seconds_a_frame": seconds / len(results),
        "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def mean_jaccard(labels, truth, ids):  # noqa: ANN001, ANN201
    """Mean J over objects and over all frames but the first."""
    scores = [
        jaccard(got == i, want == i, void=want == 255)
        for i in ids
        for got, want in zip(labels[1:], truth[1:], strict=True)
    ]
    return float(np.mean(scores))


def machine() -> dict[str, object]:
    """What the numbers depend on."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "processor": processor(),
        "commit": commit.stdout.strip(),
    }


def processor() -> str:
    """The processor's name."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def describe(arguments: argparse.Namespace) -> dict[str, object]:
    """Options that change the numbers."""
    return {key: getattr(arguments, key) for key in ("weights", "size", "no_flow")}


if __name__ == "__main__":
    main()
