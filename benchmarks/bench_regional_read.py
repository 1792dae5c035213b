#!/usr/bin/env python3
"""Time the regional read against other implementations, in turns; medians and ratios.

    python -m benchmarks.bench_regional_read --threads 1 2 --json read.json
    python -m benchmarks.bench_regional_read --device cuda --dtype bfloat16 --objects 1 3 5

`native` is the operator, `pytorch` the library without it; the others are in read_variants.py.
GF/s count the matrix products only; `of sgemm` is relative to torch's product of two 1536 x 1536
matrices in the same rounds. `--memory` prints the memory that a call takes beyond its arguments.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.machine import describe_machine
from benchmarks.read_variants import crop, crop_sdpa, crop_sdpa_heads, dense
from rmnet.ops import regional_read_native, regional_read_obstacle, regional_read_pytorch

SIZES = {"paper": (30, 54, 128, 512), "small": (30, 54, 64, 192)}  # h, w, ck, cv
GEMM = 1536
SECONDS_A_CASE = 6.0


def _library(read: Callable[..., Tensor], *arguments: Tensor) -> Tensor:
    scale = arguments[0].shape[-1] ** -0.5
    return read(*arguments, present=None, semantics="excluded", scale=scale)


VARIANTS: dict[str, Callable[..., Tensor]] = {
    "native": functools.partial(_library, regional_read_native),
    "pytorch": functools.partial(_library, regional_read_pytorch),
    "dense": dense,
    "crop": crop,
    "crop_sdpa": crop_sdpa,
    "crop_sdpa_heads": crop_sdpa_heads,
}


def main() -> None:
    """Print one row per case."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", nargs="*", type=int, default=[1, 2])
    parser.add_argument("--size", choices=SIZES, default="paper")
    parser.add_argument("--frames", nargs="*", type=int, default=[5, 10, 20])
    parser.add_argument("--objects", nargs="*", type=int, default=[1])
    parser.add_argument("--shares", nargs="*", type=float, default=[0.05, 0.2, 0.5, 1.0])
    parser.add_argument("--variants", nargs="*", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default="float32")
    parser.add_argument("--memory", action="store_true", help="measure peak memory instead of time")
    parser.add_argument("--repeats", type=int, help="rounds (default: about 6 s per case)")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    in_the_way = regional_read_obstacle(
        torch.device(given.device), getattr(torch, given.dtype), *SIZES[given.size][2:]
    )
    if "native" in given.variants and in_the_way:
        raise SystemExit(f"no native op: {in_the_way}; or choose other --variants")
    rows = memory_rows(given) if given.memory else time_rows(given)
    if given.json:
        report = {**describe_machine(given.device), "size": given.size, "dtype": given.dtype}
        given.json.write_text(json.dumps({**report, "rows": rows}, indent=1) + "\n")


def time_rows(given: argparse.Namespace) -> list[dict[str, object]]:
    """Measure and print every case."""
    rows = []
    print("threads  T  n share |  ms: " + "".join(f"{name:>16}" for name in given.variants))
    for threads in given.threads if given.device == "cpu" else [1]:
        torch.set_num_threads(threads)
        for frames in given.frames:
            for n in given.objects:
                for share in given.shares:
                    row = {"threads": threads, "T": frames, "n": n, "share": share}
                    inputs = make_inputs(given, frames, n, share)
                    row.update(measure(given, inputs))
                    rows.append(row)
                    times = row["ms"]
                    print(f"{threads:>7}{frames:>3}{n:>3}{share:>6.2f} |      "
                          + "".join(f"{times[v]:>9.3f}{times[v] / times[given.variants[0]]:>6.2f}x"
                                    for v in given.variants)
                          + f"  {row['gflops']:.0f} GF/s, {row['of_sgemm']:.2f} of sgemm",
                          flush=True)  # fmt: skip
    return rows


def make_inputs(given: argparse.Namespace, frames: int, n: int, share: float) -> list[Tensor]:
    """Make random keys and values, and boxes of about `share` of the grid in random places."""
    h, w, ck, cv = SIZES[given.size]
    g = torch.Generator().manual_seed(0)
    bh, bw = max(1, round(h * share**0.5)), max(1, round(w * share**0.5))
    y0 = torch.randint(0, h - bh + 1, (n, frames + 1), generator=g)
    x0 = torch.randint(0, w - bw + 1, (n, frames + 1), generator=g)
    boxes = torch.stack((x0, y0, x0 + bw, y0 + bh), dim=-1).int()
    numbers = [
        torch.randn((1, h, w, ck), generator=g).expand(n, -1, -1, -1),
        torch.randn((n, frames, h, w, ck), generator=g),
        torch.randn((n, frames, h, w, cv), generator=g),
    ]
    dtype = getattr(torch, given.dtype)
    return [x.to(given.device, dtype) for x in numbers] + [
        x.contiguous().to(given.device) for x in (boxes[:, 0], boxes[:, 1:])
    ]


def measure(given: argparse.Namespace, inputs: list[Tensor]) -> dict[str, object]:
    """Return median milliseconds of each variant, taken in turns, and rates of the first."""
    calls: dict[str, Callable[[], Tensor]] = {
        name: functools.partial(VARIANTS[name], *inputs) for name in given.variants
    }
    want = calls[given.variants[0]]().float()
    tolerance = 1e-4 if given.dtype == "float32" else 2e-2
    for name, call in calls.items():  # also the warm-up
        if not torch.allclose(call().float(), want, atol=tolerance):
            raise SystemExit(f"{name} disagrees with {given.variants[0]}")
    square = torch.randn((GEMM, GEMM), device=given.device, dtype=inputs[1].dtype)
    calls["sgemm"] = lambda: square @ square
    one_round = sum(seconds(call, given.device) for call in calls.values())
    repeats = given.repeats or max(5, min(200, int(SECONDS_A_CASE / one_round)))
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            times[name].append(seconds(call, given.device))
    medians = {name: statistics.median(values) for name, values in times.items()}
    sgemm = 2 * GEMM**3 / medians.pop("sgemm")
    rate = 2 * multiply_adds(inputs) / medians[given.variants[0]]
    return {
        "ms": {name: round(1000 * value, 4) for name, value in medians.items()},
        "gflops": round(rate / 1e9, 1),
        "of_sgemm": round(rate / sgemm, 3),
        "repeats": repeats,
    }


def seconds(call: Callable[[], object], device: str) -> float:
    """Time one call until the device is done, s."""
    if device != "cpu":
        torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def multiply_adds(inputs: list[Tensor]) -> int:
    """Count the multiply-adds of both products over the cells inside the boxes."""
    query_key, _, memory_value, query_boxes, memory_boxes = inputs
    queries, cells = (
        ((b[..., 2] - b[..., 0]) * (b[..., 3] - b[..., 1])).long()
        for b in (query_boxes, memory_boxes)
    )
    return int((queries * cells.sum(1)).sum()) * (query_key.shape[-1] + memory_value.shape[-1])


def memory_rows(given: argparse.Namespace) -> list[dict[str, object]]:
    """Measure the peak memory of each variant in a process of its own (Linux only)."""
    rows = []
    for frames in given.frames:
        for share in given.shares:
            for variant in given.variants:
                code = (
                    "from benchmarks.bench_regional_read import print_peak\n"
                    f"print_peak({variant!r}, {given.size!r}, {frames}, {share}, "
                    f"{max(given.threads)}, {given.dtype!r})"
                )
                found = subprocess.run(
                    [sys.executable, "-c", code], capture_output=True, text=True, check=True
                )
                rows.append({"T": frames, "share": share, "variant": variant,
                             "threads": max(given.threads), "MB": float(found.stdout)})  # fmt: skip
                print(
                    f"T {frames:>2} share {share:.2f} {variant:<16} {float(found.stdout):8.1f} MB"
                )
    return rows


def print_peak(
    variant: str, size: str, frames: int, share: float, threads: int, dtype: str
) -> None:
    """Print by how many MB the second call raises the peak of this process, result included."""
    torch.set_num_threads(threads)
    options = argparse.Namespace(size=size, device="cpu", dtype=dtype)
    small = make_inputs(options, 1, 1, 0.05)
    VARIANTS[variant](*small)  # loads code, starts threads
    inputs = make_inputs(options, frames, 1, share)
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = _status("VmRSS")
    VARIANTS[variant](*inputs)
    print((_status("VmHWM") - before) / 1024)


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    raise ValueError(f"/proc/self/status has no {name}")


if __name__ == "__main__":
    main()
