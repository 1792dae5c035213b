"""Tracks that start from boxes and clicks, against those that start from true masks.

    python -m benchmarks.prompt_clips ROOT -o prompts.json

ROOT is in DAVIS layout. Clicks are set as in `benchmarks.prompt_stills`. Also prints the seconds
that the prompter takes for a box.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import describe_machine
from benchmarks.prompt_stills import box_of, click_on_error, iou
from rmnet import RMNetSegmenter
from rmnet.evaluation import evaluate_sequence, summarise_davis
from rmnet.io import VOID, open_frames, read_label_png, write_label_png
from rmnet.prompting import Point, Prompter, load_prompter

Labels = NDArray[np.integer]
_WAYS = ("mask", "box", "1 click", "2 clicks", "3 clicks", "box + 3 clicks")


def main() -> None:
    """Track every clip from every way to start."""
    args = _arguments()
    segmenter = RMNetSegmenter.from_pretrained(device=args.device)
    prompter = load_prompter(segmenter.device)
    rows: list[dict[str, Any]] = []
    for folder in sorted((args.root / "Annotations" / "480p").iterdir()):
        truth = [read_label_png(path) for path in sorted(folder.iterdir())]
        frames = open_frames(args.root / "JPEGImages" / "480p" / folder.name)
        first = next(iter(frames))
        for way in _WAYS:
            start = first_labels(prompter, first, truth[0], way)
            masks = {i: start == i for i in object_ids(start)}
            stream = segmenter.stream(frames, masks, regional=args.regional)
            labels = [result.labels for result in stream]
            if args.save is not None:
                args.save.mkdir(parents=True, exist_ok=True)
                write_label_png(args.save / f"{folder.name} {way}.png", start)
            ids = object_ids(truth[0])
            scores = evaluate_sequence(labels, truth, year=2016 if len(ids) == 1 else 2017)
            mean = summarise_davis([scores])
            found = [iou(start == i, truth[0] == i, truth[0] == VOID) for i in ids]
            row = {
                "clip": folder.name,
                "way": way,
                "first_J": statistics.fmean(found),
                "J": mean["J-Mean"],
                "F": mean["F-Mean"],
                "J&F": mean["J&F-Mean"],
            }
            rows.append(row)
            print(*(f"{x:.3f}" if isinstance(x, float) else f"{x:16}" for x in row.values()))
    for way in _WAYS:
        some = [row for row in rows if row["way"] == way]
        means = [statistics.fmean(row[key] for row in some) for key in ("first_J", "J&F")]
        print(f"{'mean':16} {way:16} {means[0]:.3f} {means[1]:.3f}")
    seconds = seconds_for_a_box(prompter, args.repeats)
    print(f"a box in 480x854: {seconds:.3f} s")
    if args.output is not None:
        report = {**describe_machine(), "seconds_for_a_box": seconds, "rows": rows}
        args.output.write_text(json.dumps(report, indent=2) + "\n")


def first_labels(
    prompter: Prompter, frame: NDArray[np.uint8], truth: Labels, way: str
) -> NDArray[np.uint8]:
    """Return the label map of the first frame that a way to start gives."""
    if way == "mask":
        return np.where(truth == VOID, 0, truth).astype(np.uint8)
    found = np.zeros(truth.shape, np.uint8)
    masks = {}
    for object_id in object_ids(truth):
        target, void = truth == object_id, truth == VOID
        boxes = {1: box_of(target)} if way.startswith("box") else {}
        mask = np.zeros_like(target)
        if boxes:
            mask = prompter(frame, boxes, {}, {})[1]
        points: list[Point] = []
        for _ in range(int(way.split()[-2]) if "click" in way else 0):
            points.append(click_on_error(mask, target, void))
            present = {1: mask} if boxes or len(points) > 1 else {}
            mask = prompter(frame, boxes, {1: points}, present)[1]
        masks[object_id] = mask
    for object_id in sorted(masks, key=lambda i: -int(masks[i].sum())):  # smaller ones in front
        found[masks[object_id]] = object_id
    return found


def object_ids(labels: Labels) -> list[int]:
    """Return the ids of a label map."""
    return [int(i) for i in np.unique(labels) if i not in (0, VOID)]


def seconds_for_a_box(prompter: Prompter, repeats: int) -> float:
    """Return the median time from a box in a frame of 480x854 px to its mask."""
    frame = np.random.default_rng(0).integers(0, 256, (480, 854, 3)).astype(np.uint8)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        prompter(frame, {1: (200, 100, 500, 400)}, {}, {})
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("root", type=Path, help="folder with JPEGImages/480p and Annotations/480p")
    add("--device", help="device to run on")
    add("--regional", action="store_true", help="compute on regions alone")
    add("--repeats", type=int, default=15, help="how often to time a box (default: 15)")
    add("--save", type=Path, help="folder for the first masks, as palette PNGs")
    add("-o", "--output", type=Path, help="write the figures as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
