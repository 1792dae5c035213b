#!/usr/bin/env python3
"""Time the native 3x3 convolution against PyTorch's, in turns; medians and ratios.

    python -m benchmarks.bench_conv3x3 --threads 1 2 --json conv3x3.json
    python -m benchmarks.bench_conv3x3 --threads 1 --clock processor --layers widths

`block` is the second half of a residual block, x + conv(relu(h)) + bias: one call of the operator,
against F.conv2d with a ReLU and a sum. `conv` is the convolution and its bias. GMAC/s count the
multiply-adds of the definition; `of sgemm` counts the multiplications of Winograd's algorithm,
relative to torch's product of two 1536 x 1536 matrices in the same rounds.

`--clock processor` measures the processor time of a single thread, for machines that other programs
use too. They still share the caches and the memory.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.machine import describe_machine
from rmnet.ops import BINARIES, conv3x3

GEMM = 1536
SECONDS_A_CASE = 4.0
CLOCKS = {"wall": time.perf_counter, "processor": time.thread_time}

# channels, out channels, height, width
LAYERS = {
    "decoder": [
        (256, 256, 120, 216),
        (256, 256, 60, 108),
        (256, 256, 30, 54),
        (512, 256, 60, 108),
        (1024, 256, 30, 54),
    ],
    "encoders": [
        (1024, 640, 30, 54),
        (256, 256, 30, 54),
        (128, 128, 60, 108),
        (64, 64, 120, 216),
    ],
    "small": [
        (384, 96, 30, 54),
        (96, 96, 30, 54),
        (64, 64, 60, 108),
        (32, 32, 120, 216),
    ],
    "widths": [(width, width, 60, 108) for width in (8, 16, 24, 32, 48, 64, 96, 128, 192)]
    + [(256, 2, 120, 216), (3, 64, 120, 216), (16, 256, 60, 108), (256, 16, 60, 108)],
}


def main() -> None:
    """Print one row per case."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", nargs="*", type=int, default=[1, 2])
    parser.add_argument(
        "--layers", nargs="*", choices=LAYERS, default=["decoder", "encoders", "small"]
    )
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--instruction-set", default="best")
    parser.add_argument("--repeats", type=int, help="rounds (default: about 4 s per case)")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    binary = BINARIES[0]  # the CPU's
    if binary.problem is not None:
        raise SystemExit(f"no native op: {binary.name} {binary.problem}")
    if given.clock == "processor" and given.threads != [1]:
        raise SystemExit("--clock processor counts one thread; use --threads 1")
    rows = []
    print(
        "threads  layer                   ms: conv conv2d ratio | block conv2d ratio  GMAC/s  of sgemm"
    )
    with torch.inference_mode():
        for threads in given.threads:
            torch.set_num_threads(threads)
            for layer in dict.fromkeys(case for name in given.layers for case in LAYERS[name]):
                row = {"threads": threads, "layer": layer, **measure(given, *layer)}
                rows.append(row)
                print(format_row(row), flush=True)
    if given.json:
        report = {
            **describe_machine(),
            "instruction set": binary.facts.get("instruction set"),
            "asked for": given.instruction_set,
            "clock": given.clock,
        }
        given.json.write_text(json.dumps({**report, "rows": rows}, indent=1) + "\n")


def measure(
    given: argparse.Namespace, channels: int, out_channels: int, height: int, width: int
) -> dict[str, Any]:
    """Return median milliseconds of each variant, taken in turns, ratios and rates."""
    g = torch.Generator().manual_seed(0)
    x, residual = (
        torch.randn((1, size, height, width), generator=g).contiguous(
            memory_format=torch.channels_last
        )
        for size in (channels, out_channels)
    )
    weight = torch.randn((out_channels, channels, 3, 3), generator=g) / (9 * channels) ** 0.5
    weight = weight.contiguous(memory_format=torch.channels_last)
    bias = torch.randn(out_channels, generator=g)
    square = torch.randn((GEMM, GEMM), generator=g)
    options = {"bias": bias, "instruction_set": given.instruction_set}
    calls: dict[str, Callable[[], Tensor]] = {
        "conv": lambda: conv3x3(x, weight, **options),
        "conv2d": lambda: F.conv2d(x, weight, bias, padding=1),
        "block": lambda: conv3x3(x, weight, residual=residual, relu_input=True, **options),
        "block2d": lambda: residual + F.conv2d(F.relu(x), weight, bias, padding=1),
        "sgemm": lambda: square @ square,
    }
    for ours, theirs in (("conv", "conv2d"), ("block", "block2d")):  # also the warm-up
        if not torch.allclose(calls[ours](), calls[theirs](), atol=1e-4):
            raise SystemExit(f"{ours} and {theirs} disagree")
    clock = CLOCKS[given.clock]
    one_round = sum(seconds(call, clock) for call in calls.values())
    repeats = given.repeats or max(5, min(200, int(SECONDS_A_CASE / one_round)))
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            times[name].append(seconds(call, clock))
    medians = {name: statistics.median(values) for name, values in times.items()}
    tiles = -(-height // 4) * -(-width // 4)
    products = 36 * tiles * channels * out_channels
    return {
        "ms": {name: round(1000 * value, 4) for name, value in medians.items()},
        "ratio": round(medians["conv2d"] / medians["conv"], 3),
        "block_ratio": round(medians["block2d"] / medians["block"], 3),
        "gmacs": round(9e-9 * channels * out_channels * height * width / medians["conv"], 1),
        "of_sgemm": round(products / medians["conv"] * medians["sgemm"] / GEMM**3, 3),
        "repeats": repeats,
    }


def seconds(call: Callable[[], Tensor], clock: Callable[[], float]) -> float:
    """Time one call, s."""
    start = clock()
    call()
    return clock() - start


def format_row(row: dict[str, Any]) -> str:
    """Format a row of the table."""
    channels, out_channels, height, width = row["layer"]
    ms = row["ms"]
    layer = f"{channels}->{out_channels} at {height}x{width}"
    return (
        f"{row['threads']:>7}  {layer:<24}{ms['conv']:>8.2f}{ms['conv2d']:>8.2f}"
        f"{row['ratio']:>5.2f}x |{ms['block']:>8.2f}{ms['block2d']:>8.2f}{row['block_ratio']:>5.2f}x"
        f"{row['gmacs']:>7.0f}{row['of_sgemm']:>8.2f}"
    )


if __name__ == "__main__":
    main()
