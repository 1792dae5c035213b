#!/usr/bin/env python3
"""How good TinyFlowNet is by itself, beside zero flow and OpenCV's DIS.

    python benchmarks/flow_accuracy.py ../shared/data --json benchmarks/results/flow_accuracy.json

End-point error on synthetic pairs, whose motion is known (the training's generator on held-out
clips, seeded); photometric error on neighbouring frames of real clips, where every flow stays
inside the frame; and the J of carrying the true mask of the frame before. Needs
opencv-python-headless.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch

import rmnet
from composites import Found, Recipe, Sources
from davis_floors import davis_clips
from floors import FlowFunction, carry, dis_flow, network_flow, zero_flow
from machine import describe_machine
from packing import pack
from planning import plan_batch
from render import render
from rmnet.metrics import jaccard
from rmnet.warp import backward_warp
from rmnet.weights import load_network

HEIGHT, WIDTH = 240, 432  # of the synthetic pairs
SPEEDS = {"slow": 0.1, "middle": 0.4, "fast": 1.0}  # of the training's motion


def main() -> None:
    """Measure each flow."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with davis480/ and train/")
    parser.add_argument("--weights", default="rmnet-small")
    parser.add_argument("--pairs", type=int, default=24, help="synthetic, of each speed")
    parser.add_argument("--every", type=int, default=4, help="frames between two real pairs")
    parser.add_argument("--clips", nargs="*", help="of davis480; default: all")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    network = load_network(given.weights)
    flows: dict[str, FlowFunction] = {
        "zero": zero_flow,
        "DIS": dis_flow(),
        "TinyFlowNet": network_flow(network.flow, network.config.size),
    }
    report = {
        "rmnet": rmnet.__version__, "opencv": cv2.__version__, **describe_machine(),
        "weights": given.weights,
        "end-point error, px": synthetic(flows, given.data, given.pairs),
        "real clips": real(flows, given.data / "davis480", given.clips, given.every),
    }  # fmt: skip
    if given.json:
        given.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def synthetic(
    flows: dict[str, FlowFunction], data: Path, pairs: int
) -> dict[str, dict[str, float]]:
    """Mean end-point error, everywhere and where the surface is seen in both frames."""
    held_out = Sources.read([data], max_stills=1).held_out
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
    flows: dict[str, FlowFunction], root: Path, clips: list[str] | None, every: int
) -> list[dict[str, object]]:
    """Photometric error (0..255) and J of carrying, a row a clip, the mean last."""
    rows: list[dict[str, object]] = []
    print(f"\n{'clip':<14}" + "".join(f"{name:>14} J{'|I-I|':>9}" for name in flows))
    for name, frames, truth in davis_clips(root, clips):
        pairs = [pair_scores(flows, *pair) for pair in neighbours(frames, truth, every)]
        row = {
            method: {key: float(np.mean([p[method][key] for p in pairs])) for key in ("J", "error")}
            for method in flows
        }
        rows.append({"clip": name, "pairs": len(pairs), **row})
        show(name, row)
    mean = {
        method: {key: float(np.mean([row[method][key] for row in rows])) for key in ("J", "error")}
        for method in flows
    }
    show("mean", mean)
    return [*rows, {"clip": "mean", **mean}]


def neighbours(frames: list, truth: list, every: int) -> Iterator[tuple]:
    """Pairs of frames with their masks, where the object is there in both."""
    for t in range(1, len(frames), every):
        if truth[t - 1].any() and truth[t].any():
            yield frames[t], frames[t - 1], truth[t], truth[t - 1]


def pair_scores(
    flows: dict[str, FlowFunction],
    current: np.ndarray,
    previous: np.ndarray,
    truth: np.ndarray,
    before: np.ndarray,
) -> dict[str, dict[str, float]]:
    """J of the carried mask and mean colour difference of the carried frame, of each flow."""
    fields = {name: flow(current, previous) for name, flow in flows.items()}
    planes = torch.from_numpy(previous).permute(2, 0, 1).float()
    planes = torch.cat([planes, torch.ones_like(planes[:1])])[None]
    warped = {k: backward_warp(planes, torch.from_numpy(f)[None])[0] for k, f in fields.items()}
    # Errors are compared where all flows stay inside the frame.
    inside = torch.stack([frame[3] > 0 for frame in warped.values()]).all(0)
    target = torch.from_numpy(current).permute(2, 0, 1).float()
    return {
        name: {
            "J": jaccard(carry(before, fields[name]) > 0, truth > 0),
            "error": float((frame[:3] - target).abs().mean(0)[inside].mean()),
        }
        for name, frame in warped.items()
    }


def show(label: str, row: dict[str, dict[str, float]]) -> None:
    """Print a row."""
    cells = "".join(f"{x['J']:>16.3f}{x['error']:>9.2f}" for x in row.values())
    print(f"{label:<14}{cells}", flush=True)


if __name__ == "__main__":
    main()
