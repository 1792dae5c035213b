#!/usr/bin/env python3
"""Track clips in DAVIS layout: J and F per clip, seconds per frame and peak memory.

    python -m benchmarks.track_davis ROOT --json results.json --save predictions

Clips of one object are scored as in DAVIS 2016, others as in DAVIS 2017: the first and the last
frame do not count, and means are over objects. The floor is the J&F of repeating the first mask.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np

import rmnet
from benchmarks.machine import describe_machine
from rmnet import RMNetSegmenter
from rmnet.evaluation import SequenceScores, evaluate_sequence, summarise_davis
from rmnet.io import open_frames, read_label_png, write_label_png


def main() -> None:
    """Run every clip and print a row for each."""
    arguments = parse_arguments()
    segmenter = RMNetSegmenter.from_pretrained(arguments.weights, device=arguments.device)
    folders = sorted((arguments.root / "Annotations" / "480p").iterdir())
    names = arguments.clips or [folder.name for folder in folders]
    rows: list[dict[str, Any]] = []
    tracked: list[SequenceScores] = []
    repeated: list[SequenceScores] = []
    print(
        f"{'clip':<14}{'frames':>7}{'objects':>8}{'J':>8}{'F':>8}{'J&F':>8}{'floor':>8}"
        f"{'s/frame':>9}{'MB':>7}"
    )
    for name in names:
        row, scores, floor = run_clip(segmenter, arguments, name)
        rows.append(row)
        tracked.append(scores)
        repeated.append(floor)
        print(
            f"{name:<14}{row['frames']:>7}{row['objects']:>8}{row['J']:>8.3f}{row['F']:>8.3f}"
            f"{row['J&F']:>8.3f}{row['floor']:>8.3f}{row['seconds_a_frame']:>9.3f}"
            f"{row['peak_megabytes']:>7.0f}",
            flush=True,
        )
    means = {}
    single = [i for i, row in enumerate(rows) if row["objects"] == 1]
    for label, some in (("one object", single), ("all", range(len(rows)))):
        if some:
            mean = summarise_davis(tracked[i] for i in some)
            floor = summarise_davis(repeated[i] for i in some)["J&F-Mean"]
            means[label] = {**mean, "floor": floor}
            print(
                f"mean, {label}: J {mean['J-Mean']:.3f}, F {mean['F-Mean']:.3f}, "
                f"J&F {mean['J&F-Mean']:.3f}, floor {floor:.3f}"
            )
    if arguments.json:
        report = {"rmnet": rmnet.__version__, **describe_machine(), "options": describe(arguments)}
        report |= {"means": means, "clips": rows}
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path, help="folder with JPEGImages/480p and Annotations/480p")
    parser.add_argument("--weights", default="rmnet-small")
    parser.add_argument("--device", default=None)
    parser.add_argument(
        "--size",
        default=None,
        help="shorter side inside the network, px, or native; default: the weights'",
    )
    parser.add_argument(
        "--no-flow",
        action="store_true",
        help="search around the previous mask instead of following the flow",
    )
    parser.add_argument("--regional", action="store_true", help="compute on regions alone")
    parser.add_argument("--clips", nargs="*", help="names of clips; default: all")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--save", type=Path, help="folder for the predictions, as palette PNGs")
    return parser.parse_args()


def run_clip(
    segmenter: RMNetSegmenter, arguments: argparse.Namespace, name: str
) -> tuple[dict[str, Any], SequenceScores, SequenceScores]:
    """Track one clip from the mask of its first frame; return its row, its scores, the floor's."""
    root, save = arguments.root, arguments.save
    size = arguments.size if arguments.size in (None, "native") else int(arguments.size)
    files = sorted((root / "Annotations" / "480p" / name).iterdir())
    truth = [read_label_png(file) for file in files]
    frames = open_frames(root / "JPEGImages" / "480p" / name)
    start = time.perf_counter()
    stream = segmenter.stream(
        frames,
        truth[0],
        size=size,
        flow="none" if arguments.no_flow else None,
        regional=arguments.regional,
    )
    results = [result.labels for result in stream]
    seconds = time.perf_counter() - start
    if save is not None:
        (save / name).mkdir(parents=True, exist_ok=True)
        for file, labels in zip(files, results, strict=True):
            write_label_png(save / name / f"{file.stem}.png", labels)
    ids = [int(i) for i in np.unique(truth[0]) if i not in (0, 255)]
    year = 2016 if len(ids) == 1 else 2017
    scores = evaluate_sequence(results, truth, year=year)
    floor = evaluate_sequence([truth[0]] * len(truth), truth, year=year)
    mean = summarise_davis([scores])
    row = {
        "clip": name,
        "frames": len(results),
        "objects": len(ids),
        "protocol": year,
        "J": mean["J-Mean"],
        "F": mean["F-Mean"],
        "J&F": mean["J&F-Mean"],
        "floor": summarise_davis([floor])["J&F-Mean"],
        "seconds_a_frame": seconds / len(results),
        "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    return row, scores, floor


def describe(arguments: argparse.Namespace) -> dict[str, object]:
    """Return the options that change the numbers."""
    return {key: getattr(arguments, key) for key in ("weights", "size", "no_flow", "regional")}


if __name__ == "__main__":
    main()
