#!/usr/bin/env python3
"""Time each part of the network by memory layout, in turns; medians.

    python -m benchmarks.bench_network --threads 2 --json network.json

Layouts: `nchw`, torch's default; `nhwc`, channels last, which the segmenter uses. Weights are
random: the time depends on the configuration only.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from pathlib import Path

import torch
from torch import Tensor

from rmnet import RMNetConfig, RMNetSegmenter
from rmnet.network import RMNet

LAYOUTS = {"nchw": torch.contiguous_format, "nhwc": torch.channels_last}
PARTS = ("flow", "memory", "query", "decode")


def main() -> None:
    """Print one row per case and layout."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", choices=("rmnet-small", "released"), default="rmnet-small")
    parser.add_argument("--sizes", nargs="*", default=["240x432", "480x864"])
    parser.add_argument("--objects", nargs="*", type=int, default=[1, 3])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.config == "released":
        config = RMNetConfig()
    else:
        config = RMNetSegmenter.from_pretrained(device="cpu").config
    plain = RMNet(config).eval()
    networks = {
        name: copy.deepcopy(plain).to(memory_format=layout) for name, layout in LAYOUTS.items()
    }
    rows = []
    print(
        f"{'size':<9}{'n':>3} {'layout':<7}" + "".join(f"{part:>9}" for part in PARTS) + "      all"
    )
    for size in arguments.sizes:
        height, width = map(int, size.split("x"))
        image = torch.randn((1, 3, height, width))
        for n in arguments.objects:
            masks = torch.rand((1, n, height, width))
            times = measure(networks, image, masks, arguments.repeats)
            for name, parts in times.items():
                rows.append({"size": size, "n": n, "layout": name, "ms": parts})
                cells = "".join(f"{parts[part]:>9.1f}" for part in PARTS)
                print(f"{size:<9}{n:>3} {name:<7}{cells}{sum(parts.values()):>9.1f}", flush=True)
    if arguments.json:
        report = {"torch": torch.__version__, "threads": arguments.threads, "rows": rows}
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


@torch.inference_mode()
def measure(
    networks: dict[str, RMNet], image: Tensor, masks: Tensor, repeats: int
) -> dict[str, dict[str, float]]:
    """Return median ms of each part and layout, taken in turns after a warm-up round."""
    samples = {name: {part: [] for part in PARTS} for name in networks}
    for _ in range(repeats + 1):
        for name, network in networks.items():
            seconds = run_once(network, image.contiguous(memory_format=LAYOUTS[name]), masks)
            for part, value in seconds.items():
                samples[name][part].append(1000 * value)
    return {
        name: {part: statistics.median(values[1:]) for part, values in parts.items()}
        for name, parts in samples.items()
    }


def run_once(network: RMNet, image: Tensor, masks: Tensor) -> dict[str, float]:
    """Return the time of each part of one frame but the read, s."""
    height, width = image.shape[2] // 16, image.shape[3] // 16
    boxes = torch.tensor([[0, 0, width, height]] * masks.shape[1])
    marks = [time.perf_counter()]
    network.flow(image, image)
    marks.append(time.perf_counter())
    _, value = network.encode_memory(image, masks)
    marks.append(time.perf_counter())
    features = network.encode_query(image)
    marks.append(time.perf_counter())
    network.decode(value, features, boxes)
    marks.append(time.perf_counter())
    return {part: b - a for part, a, b in zip(PARTS, marks, marks[1:], strict=False)}


if __name__ == "__main__":
    main()
