#!/usr/bin/env python3
"""Measure the accuracy of flows, beside zero flow and OpenCV's DIS.

    python -m benchmarks.flow_accuracy ../shared/data --json benchmarks/results/flow_accuracy.json

On synthetic pairs with known motion (the training's generator on held-out clips, seeded): the
end-point error. On neighbouring frames of real clips at 480p (davis480, and those held out of the
training): J of the true mask carried from the previous frame; the photometric error where all flows
stay inside the frame; and how often the search region, which is the box of the carried mask and a
margin, contains the whole object. Needs rmnet[benchmarks].

    --run DIR ...   adds flows of runs of training.train_flow
    --limits        adds flows of halved frames, coarse flows, and a flow refined by a second pass
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

import rmnet
from benchmarks.davis_floors import Clip, davis_clips
from benchmarks.floors import FlowFunction, Frame, Labels, carry, dis_flow, network_flow, zero_flow
from benchmarks.machine import describe_machine
from rmnet.config import RMNetConfig
from rmnet.geometry import backward_warp, mask_boxes, resize, union_boxes
from rmnet.metrics import jaccard
from rmnet.network import TinyFlowNet
from rmnet.weights import load_network
from training.layouts import Found
from training.packing import pack
from training.pictures import Video
from training.planning import plan_batch
from training.recipes import Recipe
from training.render import render
from training.runs import read_checkpoint
from training.sources import Sources

Flow = NDArray[np.float32]  # (2, H, W) px

HEIGHT, WIDTH = 240, 432  # px, size of the synthetic pairs
SPEEDS = {"slow": 0.1, "middle": 0.4, "fast": 1.0}  # factors on the motion in training
SIDE = 480  # px; smaller frames of the held-out clips are enlarged to the size of use
MARGINS = (0, 16, 32, 64)  # px around the carried mask's box


def main() -> None:
    """Measure each flow."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder with davis480/ and train/")
    parser.add_argument("--weights", default="rmnet-small")
    parser.add_argument("--pairs", type=int, default=24, help="synthetic pairs of each speed")
    parser.add_argument("--every", type=int, default=4, help="frames between two real pairs")
    parser.add_argument("--gap", type=int, default=1, help="distance of a pair, frames")
    parser.add_argument(
        "--run", type=Path, nargs="*", default=[], help="folders of training.train_flow"
    )
    parser.add_argument("--limits", action="store_true", help="add degraded and refined flows")
    parser.add_argument("--clips", nargs="*", help="names of clips of davis480; default: all")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    network = load_network(given.weights)
    size = network.config.size
    packaged = network_flow(network.flow, size)
    flows: dict[str, FlowFunction] = {
        "zero": zero_flow, "DIS": dis_flow(), "TinyFlowNet": packaged,
        **{folder.name: network_flow(flow_of_run(folder), size) for folder in given.run},
    }  # fmt: skip
    if given.limits:
        flows["DIS, halved"], flows["DIS, by 8 px"] = halved(dis_flow()), coarse(dis_flow(), 8)
        flows["DIS, by 4 px"], flows["twice"] = coarse(dis_flow(), 4), twice(packaged)
    held_out, steps = Sources.read([given.data], max_stills=1).held_out, (given.every, given.gap)
    report = {
        "rmnet": rmnet.__version__, "opencv": cv2.__version__, **describe_machine(),
        "weights": given.weights,
        "end-point error, px": synthetic(flows, held_out, given.pairs),
        "gap": given.gap,
        "real clips": real(flows, davis_clips(given.data / "davis480", given.clips), *steps),
        "held-out clips": real(flows, enlarged(held_out), *steps),
    }  # fmt: skip
    if given.json:
        given.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def flow_of_run(folder: Path) -> TinyFlowNet:
    """Load the averaged flow of a run of `training.train_flow`."""
    state = read_checkpoint(folder)
    network = TinyFlowNet(RMNetConfig.from_json(state["network"]))
    network.load_state_dict(state["average"])
    return network.eval()


def halved(flow: FlowFunction) -> FlowFunction:
    """Make a flow of frames of half the size, which the networks see too."""

    def of_halves(current: Frame, previous: Frame) -> Flow:
        found = torch.from_numpy(flow(_halved(current), _halved(previous)))[None]
        return 2 * resize(found, current.shape[:2])[0].numpy()

    return of_halves


def _halved(frame: Frame) -> Frame:
    half = cv2.resize(frame, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return half.astype(np.uint8, copy=False)


def coarse(flow: FlowFunction, stride: int) -> FlowFunction:
    """Make a flow that keeps one vector per square of `stride` px."""

    def averaged(current: Frame, previous: Frame) -> Flow:
        found = torch.from_numpy(flow(current, previous))[None]
        height, width = found.shape[2:]
        kept = F.interpolate(found, (height // stride, width // stride), mode="area")
        return F.interpolate(kept, (height, width), mode="bilinear")[0].numpy()

    return averaged


def twice(flow: FlowFunction) -> FlowFunction:
    """Make a flow that is refined by the flow between the frame and the carried previous one."""

    def again(current: Frame, previous: Frame) -> Flow:
        first = torch.from_numpy(flow(current, previous))[None]
        planes = torch.from_numpy(previous).permute(2, 0, 1)[None].float()
        near = fetched(planes, first)[0].permute(1, 2, 0).round().byte().numpy()
        rest = torch.from_numpy(flow(current, near))[None]
        return (fetched(first, rest) + rest)[0].numpy()

    return again


def fetched(planes: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    """Sample planes at the end of a flow; the border continues beyond them."""
    height, width = planes.shape[2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    grid = torch.stack(
        [(x + flow[:, 0]) * 2 / (width - 1), (y + flow[:, 1]) * 2 / (height - 1)], -1
    )
    return F.grid_sample(planes, grid - 1, padding_mode="border", align_corners=True)


def enlarged(videos: dict[str, Video]) -> Iterator[Clip]:
    """Yield the held-out clips at the size of use."""
    for name, video in videos.items():
        height, width = video.frames.shape[2:]
        scale = SIDE / min(height, width)
        size = round(scale * height), round(scale * width)
        frames = resize(video.frames.float(), size).round().byte().permute(0, 2, 3, 1)
        masks = resize((video.labels > 0)[:, None].float(), size)[:, 0] >= 0.5
        yield name, list(frames.contiguous().numpy()), list(masks.int().numpy())


def synthetic(
    flows: dict[str, FlowFunction], held_out: dict[str, Video], pairs: int
) -> dict[str, dict[str, float]]:
    """Measure end-point errors, on all pixels and on those visible in both frames."""
    sources = Sources([Found(videos=held_out)], held_out=())
    rows = {}
    print(f"{'synthetic':<12}{'px moved':>10}" + "".join(f"{n:>14}{'seen':>8}" for n in flows))
    for number, (speed, motion) in enumerate(SPEEDS.items()):
        recipe = Recipe(HEIGHT, WIDTH, objects=2, batch=pairs, motion=motion, colour=0.3)
        plans = plan_batch(sources, recipe, np.random.default_rng(number))
        errors: dict[str, list[float]] = {name: [] for name in flows}
        seen: dict[str, list[float]] = {name: [] for name in flows}
        moved = []
        for plan in plans:
            clip = render(pack([plan], recipe), sources.pictures, with_flow=True)
            previous, current = clip.frames[0].permute(0, 2, 3, 1).contiguous().numpy()
            truth, visible = clip.flow[0, 0], clip.visible[0, 0]
            moved.append(float(truth.norm(dim=0).mean()))
            for name, flow in flows.items():
                off = (torch.from_numpy(flow(current, previous)) - truth).norm(dim=0)
                errors[name].append(float(off.mean()))
                seen[name].append(float(off[visible].mean()))
        means = {name: float(np.mean(values)) for name, values in errors.items()}
        inside = {f"{name}, seen": float(np.mean(values)) for name, values in seen.items()}
        rows[speed] = {"moved": float(np.mean(moved)), **means, **inside}
        cells = "".join(f"{means[n]:>14.2f}{inside[f'{n}, seen']:>8.2f}" for n in flows)
        print(f"{speed:<12}{rows[speed]['moved']:>10.2f}{cells}", flush=True)
    return rows


def real(
    flows: dict[str, FlowFunction],
    clips: Iterator[Clip],
    every: int,
    gap: int,
) -> list[dict[str, Any]]:
    """Measure J, photometric error (0..255) and regions: one row per clip, the mean last."""
    rows: list[dict[str, Any]] = []
    print(f"\n{'clip':<14}" + "".join(f"{name:>14} J{'|I-I|':>9}" for name in flows))
    for name, frames, truth in clips:
        pairs = [pair_scores(flows, *pair) for pair in neighbours(frames, truth, every, gap)]
        row = {method: means([pair[method] for pair in pairs]) for method in flows}
        rows.append({"clip": name, "pairs": len(pairs), **row})
        show(name, row)
    mean = {method: means([row[method] for row in rows]) for method in flows}
    show("mean", mean)
    for margin in MARGINS:
        whole = "".join(f"{x[f'whole, {margin}']:>16.3f}{x[f'area, {margin}']:>9.3f}"
                        for x in mean.values())  # fmt: skip
        print(f"within {margin:>2} px {whole}", flush=True)
    return [*rows, {"clip": "mean", **mean}]


def means(rows: list[dict[str, float]]) -> dict[str, float]:
    """Return the mean of every number."""
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def neighbours(
    frames: Sequence[Frame], truth: Sequence[Labels], every: int, gap: int
) -> Iterator[tuple[Frame, Frame, Labels, Labels]]:
    """Yield pairs of frames that both show an object, with their masks."""
    for t in range(gap, len(frames), every):
        if truth[t - gap].any() and truth[t].any():
            yield frames[t], frames[t - gap], truth[t], truth[t - gap]


def pair_scores(
    flows: dict[str, FlowFunction],
    current: Frame,
    previous: Frame,
    truth: Labels,
    before: Labels,
) -> dict[str, dict[str, float]]:
    """Score each flow on a pair.

    Returns:
        For each flow: J of the carried mask; mean colour difference of the carried frame; and for
        every margin, whether the box of the carried mask contains the whole object, its share of
        the frame, and both for the union of that box and that of the previous mask ("union").
    """
    fields = {name: flow(current, previous) for name, flow in flows.items()}
    planes = torch.from_numpy(previous).permute(2, 0, 1).float()
    planes = torch.cat([planes, torch.ones_like(planes[:1])])[None]
    warped = {k: backward_warp(planes, torch.from_numpy(f)[None])[0] for k, f in fields.items()}
    # Errors are compared where all flows stay inside the frame.
    inside = torch.stack([frame[3] > 0 for frame in warped.values()]).all(0)
    target = torch.from_numpy(current).permute(2, 0, 1).float()
    scores = {}
    for name, frame in warped.items():
        mask = carry(before, fields[name]) > 0
        scores[name] = {
            "J": jaccard(mask, truth > 0),
            "error": float((frame[:3] - target).abs().mean(0)[inside].mean()),
        }
        for margin in MARGINS:
            box, last = (box_of(x, margin) for x in (mask, before > 0))
            for label, region in (("", box), (", union", union_boxes(box, last))):
                x0, y0, x1, y1 = region.tolist()
                missing = int((truth > 0).sum() - (truth[y0:y1, x0:x1] > 0).sum())
                scores[name][f"whole, {margin}{label}"] = float(missing == 0)
                scores[name][f"area, {margin}{label}"] = (x1 - x0) * (y1 - y0) / truth.size
    return scores


def box_of(mask: NDArray[np.bool_], margin: int) -> torch.Tensor:
    """Return the region that a tracker searches for a mask, (4,) px."""
    planes = torch.from_numpy(mask)[None].float()
    return mask_boxes(planes, threshold=0.5, min_pixels=10, margin=margin, lost="frame")[0]


def show(label: str, row: dict[str, dict[str, float]]) -> None:
    """Print a row."""
    cells = "".join(f"{x['J']:>16.3f}{x['error']:>9.2f}" for x in row.values())
    print(f"{label:<14}{cells}", flush=True)


if __name__ == "__main__":
    main()
