#!/usr/bin/env python3
"""Seconds a frame of the whole pipeline, by stage, of a plain baseline and of the library.

    python benchmarks/bench_track.py --network paper --threads 2 --json track.json

`regional` is the library with that option; with --beside WEIGHTS, the library also runs with other
weights, in the same turns. Steps are taken in turns, after warm-up; medians. Objects
are textured squares that move. After each step what all know of the frame is replaced by the truth, so that regions are those of
objects of the chosen size whatever the weights: those of `paper` are random. `ideal` is a stage's
own multiply-adds (convolutions, by their definition, and matrix products) at the rate of a product
of two 1536 x 1536 matrices, taken in the same turns; Winograd's convolutions may be faster. Faults are minor page faults, `in kernel` the processor time
spent there. Peak memory is of a process that runs one of the two.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from baseline import BaselineSession
from machine import describe_machine
from rmnet import MemoryPolicy, RMNetConfig, RMNetSegmenter, TrackingSession
from rmnet.network import RMNet
from rmnet.tracking.estimate import Estimate
from rmnet.weights import load_network
from stages import STAGES, count_native_ops, watch_baseline, watch_library

GEMM = 1536
VARIANTS = ("baseline", "library", "regional")
BESIDE = ("beside", "beside, regional")  # the library with other weights


class Clip:
    """Textured squares moving on a textured ground; frames and labels, one by one."""

    def __init__(self, size: tuple[int, int], objects: int, share: float) -> None:
        rng = np.random.default_rng(0)
        self._ground = _texture(rng, size)
        self._side = round((share * size[0] * size[1]) ** 0.5)
        self._sprites = [_texture(rng, (self._side, self._side)) for _ in range(objects)]

    def frame(self, t: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """(H, W, 3) and labels (H, W) of frame t."""
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
        self._session: TrackingSession | BaselineSession
        if variant == "baseline":
            self._session = BaselineSession(network, every=every)
            self.watch = watch_baseline(self._session)
        else:
            segmenter = RMNetSegmenter(network, device="cpu")
            self._session = segmenter.start(
                size="native", memory=MemoryPolicy(every=every), regional="regional" in variant
            )
            self.watch = watch_library(self._session, segmenter._inference)

    def step(
        self, frame: NDArray[np.uint8], labels: NDArray[np.uint8], *, first: bool, count: bool
    ) -> None:
        """Run one frame, then put the truth in place of what came out."""
        with self.watch.step(count=count):
            self._session.step(frame, labels if first else None)
        if not first:
            self._impose(torch.from_numpy(labels))

    def _impose(self, labels: Tensor) -> None:
        truth = torch.stack([labels == j for j in range(1, int(labels.max()) + 1)])
        truth = 0.02 + 0.96 * truth  # soft, as predictions are
        if isinstance(self._session, BaselineSession):
            self._session.probabilities = self._session.aggregate(truth)
            return
        last = self._session._last
        estimate = Estimate(last.known.estimate.object_ids, truth)
        known = dataclasses.replace(last.known, estimate=estimate)
        self._session._last = dataclasses.replace(last, known=known)


def main() -> None:
    """Print tables in markdown."""
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    if arguments.peak:
        measure_peak(arguments)
        return
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
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=("paper", "small"), default="paper")
    parser.add_argument("--beside", metavar="WEIGHTS", help="weights to run in the same turns")
    parser.add_argument("--objects", nargs="*", type=int, default=[1, 3, 5])
    parser.add_argument("--size", nargs=2, type=int, default=[480, 854], metavar=("H", "W"))
    parser.add_argument("--share", type=float, default=0.04, help="of the frame, each object")
    parser.add_argument("--frames", type=int, default=10, help="measured, after --warmup")
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--every", type=int, default=5, help="frames between frames remembered")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--no-processes", action="store_true", help="skip those of one variant")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--peak", choices=VARIANTS + BESIDE, help=argparse.SUPPRESS)
    return parser.parse_args()


def variants(arguments: argparse.Namespace) -> tuple[str, ...]:
    """What is run in turns."""
    return VARIANTS if arguments.beside is None else VARIANTS + BESIDE


def make_network(arguments: argparse.Namespace, variant: str) -> RMNet:
    """Fresh weights, which a segmenter may take over."""
    if variant in BESIDE:
        return load_network(arguments.beside)
    torch.manual_seed(0)
    is_paper = arguments.network == "paper"
    return RMNet(RMNetConfig()).eval() if is_paper else load_network("rmnet-small")


def measure(arguments: argparse.Namespace, objects: int) -> dict[str, object]:
    """Medians of one number of objects: by variant, stage and cost; and the rate of a product."""
    clip = Clip(tuple(arguments.size), objects, arguments.share)
    runners = {
        v: Runner(v, make_network(arguments, v), arguments.every) for v in variants(arguments)
    }
    square = torch.rand((GEMM, GEMM))
    rates = []
    unmeasured = 1 + arguments.warmup
    frames = unmeasured + arguments.frames
    for t in range(frames + 1):  # the last counts multiply-adds, which takes longer
        start = time.perf_counter()
        square @ square
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
            stage: {**cost._asdict(), "macs": macs[stage]}
            for stage, cost in runner.watch.medians().items()
        }
    return {"objects": objects, "gemm_macs_a_second": statistics.median(rates), "costs": costs}


def in_own_process(arguments: argparse.Namespace, variant: str, objects: int) -> dict[str, float]:
    """Run this script again, for one variant and its peak memory."""
    command = [sys.executable, __file__, "--peak", variant, "--objects", str(objects)]
    for name in ("network", "beside", "share", "frames", "warmup", "every", "threads"):
        if getattr(arguments, name) is not None:
            command += [f"--{name}", str(getattr(arguments, name))]
    command += ["--size", *map(str, arguments.size)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def measure_peak(arguments: argparse.Namespace) -> None:
    """Print one variant's memory and time, alone in this process."""
    clip = Clip(tuple(arguments.size), arguments.objects[0], arguments.share)
    runner = Runner(arguments.peak, make_network(arguments, arguments.peak), arguments.every)
    before = peak_megabytes()
    for t in range(1 + arguments.warmup + arguments.frames):
        runner.step(*clip.frame(t), first=t == 0, count=False)
    runner.watch.steps = runner.watch.steps[1 + arguments.warmup :]
    whole = runner.watch.medians()["all"]._asdict()
    print(json.dumps({"peak_megabytes": peak_megabytes(), "loaded_megabytes": before, **whole}))


def peak_megabytes() -> float:
    """The most this process held; not rusage's, which starts from the parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def print_tables(result: dict[str, object]) -> None:
    """Rows for docs/results.md."""
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
