"""The batches of a run, each a function of the seed, the clips seen before it, and progress."""

from __future__ import annotations

import signal
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from packing import PackedBatch, pack
from parallel import WHOLE, Part
from planning import plan_batch
from recipes import Mixture, Recipe
from render import Clips, make_batch, render
from sources import Sources

Use = Literal["recipe", "clips", "margins"]  # what random numbers are for; each has its own


@dataclass(frozen=True)
class Schedule:
    """What a run goes through.

    Attributes:
        name: Of the phase; another name, other random numbers.
        recipes: What batches are made of.
        planned: Clips of the whole run.
        span: Part of a longer schedule that the run is.
        seed: Of every batch.
        with_flow: Whether batches carry the true flow.
    """

    name: str
    recipes: Mixture
    planned: int
    span: tuple[float, float] = (0.0, 1.0)
    seed: int = 0
    with_flow: bool = False

    def progress(self, seen: int) -> float:
        """Where on the schedule a run is after `seen` clips."""
        low, high = self.span
        return low + (high - low) * seen / self.planned

    def generator(self, use: Use, seen: int, part: int = 0) -> np.random.Generator:
        """Random numbers of the batch that begins after `seen` clips, for one use in one part."""
        name, number = zlib.crc32(self.name.encode()), get_args(Use).index(use)
        return np.random.default_rng([self.seed, name, seen, part, number])


@dataclass(frozen=True)
class Batch:
    """A batch, or this process's part of it.

    Attributes:
        clips: Drawn, or planned only, where a device is to draw them.
        recipe: What they were made by.
        before: Clips seen before it, by all processes.
        after: Clips seen with it.
    """

    clips: Clips | PackedBatch
    recipe: Recipe
    before: int
    after: int


class Batches(IterableDataset[Batch]):
    """The batches of a schedule from `seen` clips on: a resumed run meets those it would have met.

    Of several workers each makes every so-manieth.
    """

    def __init__(
        self,
        sources: Sources,
        schedule: Schedule,
        *,
        seen: int = 0,
        part: Part = WHOLE,
        planned_only: bool = False,
    ) -> None:
        """Start at `seen`; `planned_only` leaves the drawing to the device."""
        self._sources, self._schedule, self._seen = sources, schedule, seen
        self._part, self._planned_only = part, planned_only

    def __iter__(self) -> Iterator[Batch]:
        """Make batches until the planned number of clips is reached."""
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        seen, count = self._seen, 0
        while seen < self._schedule.planned:
            progress = self._schedule.progress(seen)
            recipe = self._schedule.recipes.draw(progress, self._schedule.generator("recipe", seen))
            recipe = replace(recipe, batch=self._part.share(recipe.batch))
            after = seen + recipe.batch * self._part.parts
            if count % workers == number:
                yield Batch(self._make(recipe, seen), recipe, seen, after)
            seen, count = after, count + 1

    def _make(self, recipe: Recipe, seen: int) -> Clips | PackedBatch:
        rng = self._schedule.generator("clips", seen, self._part.number)
        if self._planned_only:
            return pack(plan_batch(self._sources, recipe, rng), recipe)
        return make_batch(self._sources, recipe, rng, with_flow=self._schedule.with_flow)


def load(
    sources: Sources,
    schedule: Schedule,
    *,
    seen: int,
    part: Part,
    workers: int,
    device: torch.device,
) -> Iterator[Batch]:
    """Batches on their device, made ahead by `workers` processes (0: here, when asked for).

    For a CPU workers draw the clips; for a GPU they only plan them, and the GPU draws: its copy
    of the images is made here.
    """
    on_device = device.type != "cpu"
    batches = Batches(sources, schedule, seen=seen, part=part, planned_only=on_device)
    loader = DataLoader(
        batches, batch_size=None, num_workers=workers,
        prefetch_factor=4 if workers else None, worker_init_fn=_leave_signals_to_parent,
    )  # fmt: skip
    pictures = [picture.to(device) for picture in sources.pictures] if on_device else []
    for batch in loader:
        if isinstance(batch.clips, PackedBatch):
            clips = render(batch.clips, pictures, with_flow=schedule.with_flow)
            yield replace(batch, clips=clips)
        else:
            yield batch


def _leave_signals_to_parent(worker: int) -> None:
    # Ctrl-C reaches the whole process group; the run ends its workers once it has saved.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
