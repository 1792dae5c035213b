#!/usr/bin/env python3
"""Score rmnet-small beside three floors, on clips of DAVIS and on composites of 2 to 5 objects.

    python -m benchmarks.davis_floors ../shared/data --json benchmarks/results/davis_floors.json

The floors repeat the first mask, or carry the previous mask by the flow of OpenCV's DIS or of
TinyFlowNet. Clips of one object are scored as in DAVIS 2016, others as in DAVIS
2017, object by object: the first and the last frame do not count. Needs rmnet[benchmarks].
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

import rmnet
from benchmarks.composites import composites
from benchmarks.floors import Frame, Labels, carried, dis_flow, network_flow, repeated
from benchmarks.machine import describe_machine
from rmnet.evaluation import SequenceScores, evaluate_sequence, summarise_davis
from rmnet.io import open_frames, read_label_png
from rmnet.weights import load_network

Frames = Sequence[Frame]
Clip = tuple[str, Frames, Sequence[Labels]]
Tracker = Callable[[Frames, Labels], Sequence[Labels]]


def main() -> None:
    """Score every method on every clip."""
    given = parse_arguments()
    methods = trackers(given.weights, given.size)
    report: dict[str, object] = {
        "rmnet": rmnet.__version__, "opencv": cv2.__version__, **describe_machine(),
        "options": {"weights": given.weights, "size": given.size},
    }  # fmt: skip
    report["davis"] = run(davis_clips(given.data / "davis480", given.clips), methods, "DAVIS")
    if not given.no_composites:
        report["composites"] = run(composites(given.data), methods, "composites")
    if given.json:
        given.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder with davis480/ and train/")
    parser.add_argument("--weights", default="rmnet-small")
    parser.add_argument(
        "--size", type=int, default=None, help="shorter side inside the network, px"
    )
    parser.add_argument("--clips", nargs="*", help="names of clips of davis480; default: all")
    parser.add_argument("--no-composites", action="store_true")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def trackers(weights: str, size: int | None) -> dict[str, Tracker]:
    """Return the network and the floors, by name."""
    segmenter = rmnet.RMNetSegmenter.from_pretrained(weights)
    network = load_network(weights)
    tiny = network_flow(network.flow, size or network.config.size)
    return {
        "rmnet": lambda frames, first: [
            result.labels for result in segmenter.stream(frames, first, size=size)
        ],
        "first mask": repeated,
        "DIS": lambda frames, first: carried(frames, first, dis_flow()),
        "TinyFlowNet": lambda frames, first: carried(frames, first, tiny),
    }


def davis_clips(root: Path, names: list[str] | None) -> Iterator[Clip]:
    """Read clips in DAVIS layout."""
    for folder in sorted((root / "JPEGImages" / "480p").iterdir()):
        if names is None or folder.name in names:
            masks = sorted((root / "Annotations" / "480p" / folder.name).iterdir())
            yield folder.name, list(open_frames(folder)), [read_label_png(path) for path in masks]


def run(clips: Iterator[Clip], methods: dict[str, Tracker], title: str) -> dict[str, object]:
    """Score clips, printing a row per object and means over objects."""
    rows: list[dict[str, object]] = []
    scores: dict[str, list[SequenceScores]] = {name: [] for name in methods}
    head = "".join(f"{name:>20}" for name in methods)
    print(f"\n{title:<22}{head}\n{'object':<22}" + f"{'J':>12}{'F':>8}" * len(methods))
    for name, frames, truth in tqdm(clips, unit="clip", disable=None, leave=False):
        year = 2017 if len(set(np.unique(truth[0])) - {0, 255}) > 1 else 2016
        found = {
            method: evaluate_sequence(track(frames, truth[0]), truth, year=year)
            for method, track in methods.items()
        }
        for method, score in found.items():
            scores[method].append(score)
        for index, object_id in enumerate(found["rmnet"].object_ids):
            row = {
                method: {
                    "J": score.jaccard_statistics[index].mean,
                    "F": score.contour_statistics[index].mean,
                }
                for method, score in found.items()
            }
            rows.append({"clip": name, "object": object_id, "frames": len(truth), **row})
            label = name if year == 2016 else f"{name} {object_id}"
            show(label, {method: (x["J"], x["F"]) for method, x in row.items()})
    means = {method: summarise_davis(found) for method, found in scores.items()}
    show("mean over objects", {k: (m["J-Mean"], m["F-Mean"]) for k, m in means.items()})
    single = {
        method: summarise_davis(one)
        for method, found in scores.items()
        if (one := [score for score in found if len(score.object_ids) == 1])
    }
    if single and len(next(iter(scores.values()))) > 1:
        show("mean, one object", {k: (m["J-Mean"], m["F-Mean"]) for k, m in single.items()})
    return {"objects": rows, "means": means, "means of clips with one object": single}


def show(label: str, values: dict[str, tuple[float, float]]) -> None:
    """Print a row."""
    tqdm.write(f"{label:<22}" + "".join(f"{j:>12.3f}{f:>8.3f}" for j, f in values.values()))


if __name__ == "__main__":
    main()
