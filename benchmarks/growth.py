#!/usr/bin/env python3
"""Measure and draw how peak memory grows with objects and frames, beside the plain baseline.

    python -m benchmarks.growth --network small --json growth.json --picture growth.png

Every point is the peak of one process, Python and torch included, from `bench_track --peak`. Every
frame is remembered, since the memory would otherwise grow too slowly to be seen. The library bounds
it by `MemoryPolicy.max_frames`, the baseline does not.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine

VARIANTS = ("baseline", "library", "regional")


def main() -> None:
    """Measure every point, then write and draw."""
    arguments = parse_arguments()
    report: dict[str, Any] = {**describe_machine(), "objects": [], "frames": []}
    report["options"] = {"network": arguments.network, "size": arguments.size}
    for objects in arguments.objects:
        report["objects"].append(measure(arguments, objects=objects, frames=arguments.frames[0]))
    for frames in arguments.frames:
        report["frames"].append(measure(arguments, objects=1, frames=frames))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    if arguments.picture:
        draw(report, arguments.picture)


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", choices=("paper", "small"), default="paper")
    parser.add_argument("--objects", nargs="*", type=int, default=[1, 3, 5, 8])
    parser.add_argument("--frames", nargs="*", type=int, default=[3, 10, 20, 40])
    parser.add_argument("--size", nargs=2, type=int, default=[480, 854], metavar=("H", "W"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path, help="PNG to draw; needs rmnet[plot]")
    return parser.parse_args()


def measure(arguments: argparse.Namespace, *, objects: int, frames: int) -> dict[str, Any]:
    """Measure the peak memory of each variant in a process of its own, MB."""
    row: dict[str, Any] = {"objects": objects, "frames": frames}
    for variant in VARIANTS:
        command = [sys.executable, "-m", "benchmarks.bench_track"]
        command += ["--peak", variant, "--network", arguments.network, "--every", "1"]
        command += ["--objects", str(objects), "--frames", str(frames), "--warmup", "0"]
        command += ["--size", *map(str, arguments.size)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        row[variant] = round(json.loads(done.stdout)["peak_megabytes"])
    print(row, flush=True)
    return row


def draw(report: dict[str, Any], path: Path) -> None:
    """Draw two plots side by side."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True, layout="constrained")
    for axis, name in zip(axes, ("objects", "frames"), strict=True):
        rows = report[name]
        for variant in VARIANTS:
            axis.plot([x[name] for x in rows], [x[variant] for x in rows], "o-", label=variant)
        axis.set_xlabel(name if name == "objects" else "frames, all remembered; one object")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("peak memory of the process, MB")
    axes[0].set_ylim(bottom=0)
    axes[0].legend()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
