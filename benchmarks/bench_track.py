#!/usr/bin/env python3
"""Seconds a frame of the whole pipeline, by stage, of a plain baseline and of the library.

    python -m benchmarks.bench_track --network paper --threads 2 --json track.json

`regional` is the library with that option; --beside WEIGHTS adds the library with other weights.
All variants step in turns; after a warm-up, medians are reported. The objects are textured squares
that move. The truth replaces what every decoder finds, so that regions are those of objects of the
chosen size whatever the weights are: those of `paper` are random. `ideal` is the time that the
multiply-adds of a stage (convolutions by their definition, and matrix products) would take at the
rate of a product of two 1536 x 1536 matrices, measured in the same turns; Winograd's convolutions
may be faster. Faults are minor page faults; `in kernel` is processor time spent there. Peak memory
is that of a process that runs one variant.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.baseline import BaselineSession
from benchmarks.machine import describe_machine
from benchmarks.stages import STAGES, Stopwatch, count_native_ops, watched_stages
from rmnet import MemoryPolicy, RMNetConfig, RMNetSegmenter, TrackingSession
from rmnet.config import STRIDE
from rmnet.geometry import Padding
from rmnet.network import RMNet
from rmnet.weights import load_network

GEMM = 1536
VARIANTS = ("baseline", "library", "regional")
BESIDE = ("beside", "beside, regional")  # the library with other weights


class Clip:
    """Textured squares that move over a textured ground."""

    def __init__(self, size: tuple[int, int], objects: int, share: float) -> None:
        rng = np.random.default_rng(0)
        self._ground = _texture(rng, size)
        self._side = round((share * size[0] * size[1]) ** 0.5)
        self._sprites = [_texture(rng, (self._side, self._side)) for _ in range(objects)]

    def frame(self, t: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Draw frame t: (H, W, 3) uint8, and its labels (H, W)."""
        height, width = self._ground.shape[:2]
        picture, labels = self._ground.copy(), np.zeros((height, width), np.uint8)
        free = np.array((height - self._side, width - self._side))
        for j, sprite in enumerate(self._sprites):
            place = np.array((0.3 + 0.4 * (j % 2), (j + 0.5) / len(self._sprites)))
            start = free * place + abs(t % 32 - 16) * np.array((1, 3 - 6 * (j % 2)))
            y, x = start.round().astype(int).clip(0, free)
            picture[y : y + self._side, x : x + self._side] = sprite
            labels[y : y + self._side, x : x + self._side] = j + 1
        return picture, labels


def _texture(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.uint8]:
    coarse = rng.integers(0, 256, (size[0] // 8 + 1, size[1] // 8 + 1, 3), np.uint8)
    return coarse.repeat(8, axis=0).repeat(8, axis=1)[: size[0], : size[1]].copy()


class Runner:
    """One variant on one clip."""

    def __init__(self, variant: str, network: RMNet, every: int) -> None:
        self.watch = Stopwatch()
        self._session: TrackingSession | BaselineSession
        if variant == "baseline":
            self._session = BaselineSession(network, every=every)
        else:
            segmenter = RMNetSegmenter(network, device="cpu")
            self._session = segmenter.start(
                size="native", memory=MemoryPolicy(every=every), regional="regional" in variant
            )

    def step(
        self, frame: NDArray[np.uint8], labels: NDArray[np.uint8], *, first: bool, count: bool
    ) -> None:
        """Run one frame, and let the session know the truth instead of what it found."""
        masks = torch.from_numpy(np.stack([labels == j for j in range(1, int(labels.max()) + 1)]))
        truth = 0.02 + 0.96 * masks  # soft, as predictions are
        padding = Padding.to_multiple((labels.shape[0], labels.shape[1]), STRIDE)
        self.watch.truth = padding.add(truth)
        with self.watch.step(count=count):
            self._session.step(frame, labels if first else None)
        if isinstance(self._session, BaselineSession) and not first:
            self._session.probabilities = self._session.aggregate(truth)


def main() -> None:
    """Print tables in markdown."""
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    with watched_stages():
        if arguments.peak:
            measure_peak(arguments)
        else:
            measure_all(arguments)


def measure_all(arguments: argparse.Namespace) -> None:
    """Measure every number of objects, print the tables and write the JSON."""
    count_native_ops()
    results = []
    for objects in arguments.objects:
        result = measure(arguments, objects)
        alone = () if arguments.no_processes else variants(arguments)
        result["processes"] = {v: in_own_process(arguments, v, objects) for v in alone}
        results.append(result)
        print_tables(result)
        sys.stdout.flush()
    if arguments.json:
        options = {k: v for k, v in vars(arguments).items() if k not in ("json", "peak")}
        if arguments.beside is not None:
            options["beside"] = Path(arguments.beside).name
        report = {**describe_machine(), "options": options, "results": results}
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", choices=("paper", "small"), default="paper")
    parser.add_argument("--beside", metavar="WEIGHTS", help="weights to run in the same turns")
    parser.add_argument("--objects", nargs="*", type=int, default=[1, 3, 5])
    parser.add_argument("--size", nargs=2, type=int, default=[480, 854], metavar=("H", "W"))
    parser.add_argument(
        "--share",
        type=float,
        default=0.04,
        help="part of the frame that each object covers (default: %(default)s)",
    )
    parser.add_argument(
        "--frames",
        type=int,
        default=10,
        help="frames measured, after --warmup (default: %(default)s)",
    )
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--every", type=int, default=5, help="frames between two remembered ones")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--no-processes", action="store_true", help="skip the processes that run one variant each"
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--peak", choices=VARIANTS + BESIDE, help=argparse.SUPPRESS)
    return parser.parse_args()


def variants(arguments: argparse.Namespace) -> tuple[str, ...]:
    """Return the variants to run in turns."""
    return VARIANTS if arguments.beside is None else VARIANTS + BESIDE


def make_network(arguments: argparse.Namespace, variant: str) -> RMNet:
    """Return a network that no other variant uses."""
    if variant in BESIDE:
        return load_network(arguments.beside)
    torch.manual_seed(0)
    is_paper = arguments.network == "paper"
    return RMNet(RMNetConfig()).eval() if is_paper else load_network("rmnet-small")


def make_clip(arguments: argparse.Namespace, objects: int) -> Clip:
    """Make the clip that the command line describes."""
    height, width = arguments.size
    return Clip((height, width), objects, arguments.share)


def measure(arguments: argparse.Namespace, objects: int) -> dict[str, Any]:
    """Measure one number of objects: median costs by variant and stage, and sgemm's rate."""
    clip = make_clip(arguments, objects)
    runners = {
        v: Runner(v, make_network(arguments, v), arguments.every) for v in variants(arguments)
    }
    square = torch.rand((GEMM, GEMM))
    rates = []
    unmeasured = 1 + arguments.warmup
    frames = unmeasured + arguments.frames
    for t in range(frames + 1):  # the last counts multiply-adds, which takes longer
        start = time.perf_counter()
        torch.mm(square, square)
        rates.append(GEMM**3 / (time.perf_counter() - start))
        for runner in runners.values():
            runner.step(*clip.frame(t), first=t == 0, count=t == frames)
    costs = {}
    for variant, runner in runners.items():
        counted = runner.watch.steps[-1]
        runner.watch.steps = runner.watch.steps[unmeasured:-1]
        macs = {stage: counted[stage].macs for stage in STAGES}
        macs["all"] = sum(macs.values())
        costs[variant] = {
            stage: {**asdict(cost), "macs": macs[stage]}
            for stage, cost in runner.watch.medians().items()
        }
    return {"objects": objects, "gemm_macs_a_second": statistics.median(rates), "costs": costs}


def in_own_process(arguments: argparse.Namespace, variant: str, objects: int) -> dict[str, float]:
    """Measure time and peak memory of one variant in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.bench_track"]
    command += ["--peak", variant, "--objects", str(objects)]
    for name in ("network", "beside", "share", "frames", "warmup", "every", "threads"):
        if getattr(arguments, name) is not None:
            command += [f"--{name}", str(getattr(arguments, name))]
    command += ["--size", *map(str, arguments.size)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def measure_peak(arguments: argparse.Namespace) -> None:
    """Print time and peak memory of one variant, alone in this process, as JSON."""
    clip = make_clip(arguments, arguments.objects[0])
    runner = Runner(arguments.peak, make_network(arguments, arguments.peak), arguments.every)
    before = peak_megabytes()
    for t in range(1 + arguments.warmup + arguments.frames):
        runner.step(*clip.frame(t), first=t == 0, count=False)
    runner.watch.steps = runner.watch.steps[1 + arguments.warmup :]
    whole = asdict(runner.watch.medians()["all"])
    print(json.dumps({"peak_megabytes": peak_megabytes(), "loaded_megabytes": before, **whole}))


def peak_megabytes() -> float:
    """Return the most that this process held, MB. rusage's figure includes the parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def print_tables(result: dict[str, Any]) -> None:
    """Print tables for the documentation."""
    costs, rate = result["costs"], result["gemm_macs_a_second"]
    print(f"\n{result['objects']} objects, {rate / 1e9:.1f} GMAC/s in sgemm; ms a frame\n")
    print(
        "| stage | baseline | library | ratio | regional | ratio | GMAC | ideal | of ideal"
        " | faults | in kernel |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for stage in (*STAGES, "all"):
        each = [costs[variant][stage] for variant in VARIANTS]
        plain, ours, regional = each
        ideal = ours["macs"] / rate
        macs = " → ".join(f"{x['macs'] / 1e9:.1f}" for x in each)
        kernel = " → ".join(f"{1000 * x['system_seconds']:.0f}" for x in each)
        print(
            f"| {stage} | {_ms(plain)} | {_ms(ours)} | {_ratio(plain, ours)} | {_ms(regional)}"
            f" | {_ratio(plain, regional)} | {macs} | {1000 * ideal:.0f}"
            f" | {ideal / ours['seconds']:.2f} | {' → '.join(map(_faults, each))} | {kernel} |"
        )
    for variant in BESIDE:
        if variant in costs:
            print(f"\n{variant}: {_ms(costs[variant]['all'])} ms, ", end="")
            print(", ".join(f"{stage} {_ms(costs[variant][stage])}" for stage in STAGES))
    print(
        "\n| alone in a process | ms a frame | faults a frame | peak MB | of it before tracking |"
    )
    print("|---|---|---|---|---|")
    for variant, cost in result["processes"].items():
        print(
            f"| {variant} | {_ms(cost)} | {_faults(cost)} | {cost['peak_megabytes']:.0f}"
            f" | {cost['loaded_megabytes']:.0f} |"
        )


def _ms(cost: dict[str, float]) -> str:
    return f"{1000 * cost['seconds']:.4g}"


def _faults(cost: dict[str, float]) -> str:
    return f"{cost['page_faults'] / 1000:.1f}k"


def _ratio(a: dict[str, float], b: dict[str, float]) -> str:
    return f"{a['seconds'] / b['seconds']:.2f}×"  # noqa: RUF001 the sign that the docs have


if __name__ == "__main__":
    main()
