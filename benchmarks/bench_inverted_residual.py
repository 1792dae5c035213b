#!/usr/bin/env python3
"""Time native inverted residual blocks against PyTorch's convolutions, in turns.

    python -m benchmarks.bench_inverted_residual --threads 1 2 --json inverted_residual.json
    python -m benchmarks.bench_inverted_residual --instruction-sets avx512 avx2 portable

The blocks are those of EfficientNet-Lite0 down to stride 16, for a frame of 480 x 864; `chain` is
all eleven in sequence. PyTorch has folded BatchNorms too: F.conv2d on channels-last tensors and
weights, with ReLU6 and the sum in place. Each round calls every variant, first without timing it.
Times are the median and the least of the rounds: processor time for one thread, which other
programs hardly affect, and wall-clock time for more threads. The JSON always holds the latter too.

GMAC/s count multiply-adds. `of sgemm` is that rate relative to torch's product of two 1536 x 1536
matrices, `of copy` the bytes of input and output per second relative to copying 64 MB, both in the
same rounds.
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
from rmnet.ops import BINARIES, PackedBlock, inverted_residual, pack

GEMM = 1536
COPIED = 16 << 20  # floats
SCRATCH = 1 << 20
SECONDS_A_CASE = 4.0

# expansion, channels, out channels, kernel, stride, height, width; and how often
BLOCKS = {
    (1, 32, 16, 3, 1, 240, 432): 1,
    (6, 16, 24, 3, 2, 240, 432): 1,
    (6, 24, 24, 3, 1, 120, 216): 1,
    (6, 24, 40, 5, 2, 120, 216): 1,
    (6, 40, 40, 5, 1, 60, 108): 1,
    (6, 40, 80, 3, 2, 60, 108): 1,
    (6, 80, 80, 3, 1, 30, 54): 2,
    (6, 80, 112, 5, 1, 30, 54): 1,
    (6, 112, 112, 5, 1, 30, 54): 2,
}


class Case:
    """A block with random weights, for both variants."""

    def __init__(
        self, expansion: int, channels: int, out_channels: int, kernel: int, stride: int,
        height: int, width: int,
    ) -> None:  # fmt: skip
        g = torch.Generator().manual_seed(0)
        expanded = expansion * channels

        def part(*shape: int) -> tuple[Tensor, Tensor]:
            weight = torch.randn(shape, generator=g)
            weight *= (2 / weight[0].numel()) ** 0.5
            bias = torch.randn(shape[0], generator=g) / 2
            return weight.contiguous(memory_format=torch.channels_last), bias

        self.expand = part(expanded, channels, 1, 1) if expansion > 1 else None
        self.depthwise = part(expanded, 1, kernel, kernel)
        self.project = part(out_channels, expanded, 1, 1)
        self.residual = stride == 1 and channels == out_channels
        self.block: PackedBlock = pack(
            self.expand, self.depthwise, self.project, stride=stride, residual=self.residual
        )
        x = torch.randn((1, channels, height, width), generator=g)
        self.x = x.contiguous(memory_format=torch.channels_last)
        shape = self.block.output_shape(self.x.shape)
        self.out = torch.empty(shape, memory_format=torch.channels_last)
        wide, narrow = height * width, shape[2] * shape[3]
        self.products = narrow * expanded * (kernel**2 + out_channels)
        self.products += wide * channels * expanded if self.expand else 0
        self.moved = 4 * (self.x.numel() + self.out.numel())

    def native(self, x: Tensor, scratch: Tensor, instruction_set: str) -> Tensor:
        """Call the operator, without allocating memory."""
        return inverted_residual(
            x, self.block, out=self.out, scratch=scratch, instruction_set=instruction_set
        )

    def pytorch(self, x: Tensor) -> Tensor:
        """Compute the block with PyTorch."""
        y = x if self.expand is None else F.relu6(F.conv2d(x, *self.expand), inplace=True)
        kernel, stride, groups = self.block.kernel, self.block.stride, self.block.expanded
        y = F.conv2d(y, *self.depthwise, stride, kernel // 2, groups=groups)
        y = F.conv2d(F.relu6(y, inplace=True), *self.project)
        return y.add_(x) if self.residual else y


def main() -> None:
    """Print the rows of each case."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", nargs="*", type=int, default=[1, 2])
    parser.add_argument("--instruction-sets", nargs="*", default=["best"])
    parser.add_argument("--repeats", type=int, help="rounds (default: about 4 s per case)")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    binary = BINARIES[0]  # the CPU's
    if binary.problem is not None:
        raise SystemExit(f"no native op: {binary.name} {binary.problem}")
    cases = {kind: Case(*kind) for kind in BLOCKS}
    chain = [Case(*kind) for kind, times in BLOCKS.items() for _ in range(times)]
    rows = []
    print(
        "threads  block                          PyTorch ms (least)  "
        "native ms (least)  ratio  GMAC/s  of sgemm  of copy"
    )
    with torch.inference_mode():
        for threads in given.threads:
            torch.set_num_threads(threads)
            for name, run in {
                **{kind: [case] for kind, case in cases.items()},
                "chain": chain,
            }.items():
                row = {"threads": threads, "block": name, **measure(given, run, threads)}
                rows.append(row)
                print("\n".join(format_row(row)), flush=True)
    if given.json:
        report = {
            **describe_machine(),
            "instruction set": binary.facts.get("instruction set"),
            "clock": {"1 thread": "processor", "more threads": "wall"},
        }
        given.json.write_text(json.dumps({**report, "rows": rows}, indent=1) + "\n")


def measure(given: argparse.Namespace, cases: list[Case], threads: int) -> dict[str, Any]:
    """Return milliseconds of each variant, taken in turns, and rates of the native ones."""
    scratch = torch.empty(SCRATCH)
    source, target = torch.zeros(COPIED), torch.empty(COPIED)
    square = torch.randn((GEMM, GEMM))

    def native(name: str) -> Tensor:
        x = cases[0].x
        for case in cases:
            x = case.native(x, scratch, name)
        return x

    def pytorch() -> Tensor:
        x = cases[0].x
        for case in cases:
            x = case.pytorch(x)
        return x

    ways: dict[str, Callable[[], Tensor]] = {
        **{name: lambda name=name: native(name) for name in given.instruction_sets},
        "pytorch": pytorch,
    }
    want = pytorch()
    for name in given.instruction_sets:  # also the warm-up
        if (ways[name]() - want).abs().max() > 1e-4 * want.abs().max():
            raise SystemExit(f"{name} and PyTorch disagree")
    limits = {"sgemm": lambda: square @ square, "copy": lambda: target.copy_(source)}
    calls = {**ways, **limits}
    one_round = sum(clocks(call)[0] for call in calls.values())
    repeats = given.repeats or max(10, min(300, int(SECONDS_A_CASE / 2 / one_round)))
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            call()  # warms the caches for the next call
            times[name].append(clocks(call))
    walls = {name: [wall for wall, _ in values] for name, values in times.items()}
    chosen = walls
    if threads == 1:
        chosen = {name: [processor for _, processor in values] for name, values in times.items()}
    medians = {name: statistics.median(values) for name, values in chosen.items()}
    products, moved = sum(case.products for case in cases), sum(case.moved for case in cases)
    return {
        "ms": {name: round(1000 * value, 4) for name, value in medians.items()},
        "least_ms": {name: round(1000 * min(values), 4) for name, values in chosen.items()},
        "wall_ms": {
            name: round(1000 * statistics.median(values), 4) for name, values in walls.items()
        },
        "native": {
            name: {
                "ratio": round(medians["pytorch"] / medians[name], 3),
                "gmacs": round(1e-9 * products / medians[name], 1),
                "of_sgemm": round(products / medians[name] * medians["sgemm"] / GEMM**3, 3),
                "of_copy": round(moved / medians[name] * medians["copy"] / (8 * COPIED), 3),
            }
            for name in given.instruction_sets
        },
        "repeats": repeats,
    }


def clocks(call: Callable[[], Tensor]) -> tuple[float, float]:
    """Return wall-clock and processor time of one call, s."""
    wall, processor = time.perf_counter(), time.thread_time()
    call()
    return time.perf_counter() - wall, time.thread_time() - processor


def format_row(row: dict[str, Any]) -> list[str]:
    """Format one row for each native variant."""
    block = "chain of eleven"
    if row["block"] != "chain":
        expansion, channels, out_channels, kernel, stride, height, width = row["block"]
        block = f"x{expansion} {channels}->{out_channels} k{kernel} s{stride} at {height}x{width}"
    ms, least = row["ms"], row["least_ms"]
    return [
        f"{row['threads']:>7}  {block:<27}{ms['pytorch']:>9.2f} ({least['pytorch']:.2f})"
        f"{ms[name]:>9.2f} ({least[name]:.2f}) {rates['ratio']:>6.2f}x{rates['gmacs']:>7.0f}"
        f"{rates['of_sgemm']:>9.2f}{rates['of_copy']:>9.2f}  {name}"
        for name, rates in row["native"].items()
    ]


if __name__ == "__main__":
    main()
