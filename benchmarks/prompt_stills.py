"""How well the prompter segments held-out stills: a box, one click, clicks on what is wrong.

The data are those of training/train_prompt.py; the first 500 stills of its shuffled list were never
trained on. Each still gives one object, chosen by the seed. Clicks are in the middle of the largest
error, as a person would set them; "random click" is anywhere but at the object's border.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F
from tqdm import tqdm

from rmnet.io import VOID
from rmnet.prompting import Box, NetworkPrompter, Point
from training.prompt_pictures import find_pictures, objects_of
from training.sources import default_data

Mask = NDArray[np.bool_]
_CLICKS = 3


def main() -> None:
    """Print the mean IoU of each way to prompt."""
    args = _arguments()
    torch.set_num_threads(args.threads)
    prompter = NetworkPrompter(weights=args.weights)
    scores: dict[str, list[float]] = {}
    worst: list[tuple[float, str]] = []
    stills = list(_stills(find_pictures(args.data)[1][: args.count], args.seed))
    for number, (path, frame, truth, void) in enumerate(tqdm(stills)):
        rng = np.random.default_rng((args.seed, number))
        found = prompt_in_all_ways(prompter, frame, truth, void, rng)
        for way, mask in found.items():
            scores.setdefault(way, []).append(iou(mask, truth, void))
        worst.append((scores["box"][-1], str(path.relative_to(args.data))))
    means = {way: round(float(np.mean(values)), 4) for way, values in scores.items()}
    for way, mean in means.items():
        print(f"{way:24} {mean:.3f}")
    if args.output is not None:
        rows = {"count": len(stills), "seed": args.seed, "iou": means, "worst": sorted(worst)[:10]}
        args.output.write_text(json.dumps(rows, indent=2) + "\n")


def prompt_in_all_ways(
    prompter: NetworkPrompter,
    frame: NDArray[np.uint8],
    truth: Mask,
    void: Mask,
    rng: np.random.Generator,
) -> dict[str, Mask]:
    """Return the mask of each way to prompt for an object."""
    box = box_of(truth)
    x0, y0, x1, y1 = (int(edge) for edge in box)
    filled = np.zeros_like(truth)
    filled[y0:y1, x0:x1] = True
    found = {"filled box": filled, "box": prompter(frame, {1: box}, {}, {})[1]}
    inner = ~_grown(~truth, 3)
    rows, columns = np.nonzero(inner if inner.any() else truth)
    choice = rng.integers(len(rows))
    random_click = (float(columns[choice]), float(rows[choice]), True)
    found["random click"] = prompter(frame, {}, {1: [random_click]}, {})[1]
    for start, boxes in (("", {}), ("box + ", {1: box})):
        points: list[Point] = []
        mask = found["box"] if boxes else np.zeros_like(truth)
        for number in range(1, _CLICKS + 1):
            points.append(click_on_error(mask, truth, void))
            present = {1: mask} if boxes or number > 1 else {}
            mask = prompter(frame, boxes, {1: points}, present)[1]
            found[f"{start}{number} click{'' if number == 1 else 's'}"] = mask
    return found


def iou(mask: Mask, truth: Mask, void: Mask) -> float:
    """Return intersection over union outside of void."""
    both, either = mask & truth & ~void, (mask | truth) & ~void
    return float(both.sum() / max(1, either.sum()))


def box_of(mask: Mask) -> Box:
    """Return the box around a mask."""
    x, y = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return float(x[0]), float(y[0]), float(x[-1] + 1), float(y[-1] + 1)


def click_on_error(mask: Mask, truth: Mask, void: Mask) -> Point:
    """Return a click at the pixel of a wrong area that is farthest from its border."""
    deepest, best = 0, (0.0, 0.0, True)
    for wrong, inside in ((truth & ~mask, True), (mask & ~truth & ~void, False)):
        depth, left, core = 0, wrong, wrong
        while left.any():
            core, left, depth = left, ~_grown(~left, 1), depth + 1
        if depth > deepest:
            rows, columns = np.nonzero(core)
            middle = len(rows) // 2
            deepest, best = depth, (float(columns[middle]), float(rows[middle]), inside)
    return best


def _grown(mask: Mask, radius: int) -> Mask:
    """Return a mask grown by a square, as if everything beyond the frame belonged to it."""
    padded = F.pad(torch.from_numpy(mask)[None, None].float(), [radius] * 4, value=1.0)
    return F.max_pool2d(padded, 2 * radius + 1, stride=1)[0, 0].numpy() > 0.5


def _stills(paths: list[Path], seed: int) -> Iterator[tuple[Path, NDArray[np.uint8], Mask, Mask]]:
    """Yield path, picture, object and void of every still that has an object."""
    for number, path in enumerate(paths):
        labels = np.array(Image.open(path.with_suffix(".png")))
        ids = objects_of(labels)
        if ids:
            chosen = ids[np.random.default_rng((seed, 1, number)).integers(len(ids))]
            picture = np.array(Image.open(path).convert("RGB"))
            yield path, picture, labels == chosen, labels == VOID


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("--data", type=Path, default=default_data(), help="folder with train/stills")
    add("--count", type=int, default=500, help="number of held-out stills (default: 500)")
    add(
        "--weights", type=Path, help="a .safetensors file of the prompt network (default: packaged)"
    )
    add("--threads", type=int, default=torch.get_num_threads())
    add("--seed", type=int, default=0)
    add("-o", "--output", type=Path, help="write the figures as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
