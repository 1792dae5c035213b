"""Pairs of frames with their flow, drawn once into files: drawing costs more than learning."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from training.batches import Schedule, load
from training.parallel import WHOLE
from training.phases import FlowPhase
from training.sources import Sources
from training.strict_json import TrainingConfigError
from training.teacher import dis_teacher

MAX_GAP = 2  # frames of a film between the two of a real pair
WINDOWS = 2  # cut from each
LEAST_KNOWN = 0.5  # part of a window whose flow must be known
TRIES = 1000  # windows in a row with too little known flow

Pair = tuple[NDArray[np.uint8], NDArray[np.float16]]  # (2, 3, H, W) and (2, H, W)


@dataclass(frozen=True)
class PairBank:
    """P pairs in files.

    Attributes:
        frames: (P, 2, 3, H, W) uint8: a frame, then the one before it.
        flow: (P, 2, H, W) float16 px, from the frame to the one before; NaN where unknown.
        by_speed: (P,) numbers of the pairs, the slowest first.
    """

    frames: NDArray[np.uint8]
    flow: NDArray[np.float16]
    by_speed: NDArray[np.int64]

    def take(self, numbers: NDArray[np.int64], device: torch.device) -> tuple[Tensor, Tensor]:
        """Return frames (B, 2, 3, H, W) and flow (B, 2, H, W) of some pairs."""
        frames = torch.from_numpy(self.frames[numbers]).to(device)
        return frames, torch.from_numpy(self.flow[numbers]).to(device)


def open_bank(
    folder: Path,
    sources: Sources,
    phase: FlowPhase,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    workers: int = 0,
) -> PairBank:
    """Open the bank of a run; draw it if it is missing or incomplete.

    Args:
        folder: Folder of the bank.
        sources: The images.
        phase: Recipes and numbers of the pairs.
        seed: Seed for the pairs.
        device: Device that draws.
        workers: Number of processes that plan or draw.

    Raises:
        TrainingConfigError: the bank was drawn with another seed or config.
    """
    facts = {"seed": seed, "drawn": phase.drawn, "real": phase.real, "recipes": repr(phase.recipes)}
    summary = folder / "bank.json"
    if not summary.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder, sources, phase, seed=seed, device=torch.device(device), workers=workers)
        order = np.argsort(_speeds(_read(folder, "flow")), kind="stable")
        # Written last: a bank without it is incomplete.
        summary.write_text(json.dumps({**facts, "by_speed": order.tolist()}), encoding="utf-8")
    kept = json.loads(summary.read_text(encoding="utf-8"))
    order = np.array(kept.pop("by_speed"))
    if kept != facts:
        raise TrainingConfigError(
            f"{folder} holds pairs of another seed or config; accepted: those it was drawn with. "
            "Give another --out, or delete that folder"
        )
    return PairBank(_read(folder, "frames"), _read(folder, "flow"), order)


def _read(folder: Path, name: str) -> NDArray[Any]:
    return np.load(folder / f"{name}.npy", mmap_mode="r")


def _speeds(flow: NDArray[np.float16]) -> list[float]:
    return [float(np.nanmean(np.hypot(*pair.astype(np.float32)))) for pair in flow]


def _write(
    folder: Path,
    sources: Sources,
    phase: FlowPhase,
    *,
    seed: int,
    device: torch.device,
    workers: int,
) -> None:
    (height, width), count = phase.recipes.ingredients[0].size, phase.drawn + phase.real
    create = np.lib.format.open_memmap
    frames = create(folder / "frames.npy", "w+", np.uint8, (count, 2, 3, height, width))
    flow = create(folder / "flow.npy", "w+", np.float16, (count, 2, height, width))
    pairs = _drawn_pairs(sources, phase, seed, device, workers)
    with tqdm(total=count, desc="pairs", unit="pair", disable=None) as bar:
        for number in range(count):
            if number == phase.drawn:
                pairs = _real_pairs(sources, (height, width), seed)
            frames[number], flow[number] = next(pairs)
            bar.update()
    frames.flush()
    flow.flush()


def _drawn_pairs(
    sources: Sources, phase: FlowPhase, seed: int, device: torch.device, workers: int
) -> Iterator[Pair]:
    schedule = Schedule("pairs", phase.recipes, phase.drawn, seed=seed, with_flow=True)
    for batch in load(sources, schedule, seen=0, part=WHOLE, workers=workers, device=device):
        frames, flow = batch.clips.frames.flip(1).cpu(), batch.clips.flow[:, 0].half().cpu()
        yield from zip(frames.numpy(), flow.numpy(), strict=True)


def _real_pairs(sources: Sources, size: tuple[int, int], seed: int) -> Iterator[Pair]:
    """Yield windows of neighbouring frames of the training clips, with a teacher's flow."""
    teach, films = dis_teacher(), list(sources.films.values())
    rng = np.random.default_rng([seed, 1])
    if not films:
        raise TrainingConfigError("there are no clips; accepted: --data with some, or --real 0")
    failed = 0
    while failed < TRIES:
        film = films[rng.integers(len(films))]
        last = rng.integers(1, len(film.numbers))
        first = max(0, last - rng.integers(1, MAX_GAP + 1))
        places = (last, first) if rng.random() < 0.5 else (first, last)
        current, previous = (sources.pictures[film.numbers[place]].image for place in places)
        spare = current.shape[1] - size[0], current.shape[2] - size[1]
        if min(spare) < 0:
            raise TrainingConfigError(
                f"frames of {tuple(current.shape[1:])} px are smaller than the recipes' {size}; "
                "accepted: a smaller `size` in flow.recipes, or --real 0"
            )
        flow = teach(current, previous)
        for _ in range(WINDOWS):
            top, left = (int(rng.integers(extra + 1)) for extra in spare)
            window = np.s_[..., top : top + size[0], left : left + size[1]]
            part = flow[window]
            if part.isfinite().all(0).float().mean() < LEAST_KNOWN:
                failed += 1
                continue
            failed = 0
            yield np.stack([current[window], previous[window]]), part.half().numpy()
    raise TrainingConfigError(
        f"none of {TRIES} windows of real frames has a reliable flow; accepted: "
        "clips with more texture or less motion, or --real 0"
    )
