"""Batches of a run: each a function of the seed, the number of clips seen, and progress."""

from __future__ import annotations

import signal
import zlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from multiprocessing import active_children, get_context
from typing import Literal, get_args

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from training.clock import Deadline
from training.packing import PackedBatch, pack
from training.parallel import WHOLE, Part
from training.planning import plan_batch
from training.recipes import Mixture, Recipe
from training.render import Clips, make_batch, render
from training.sources import Sources

Use = Literal["recipe", "clips", "margins"]  # each use has random numbers of its own


@dataclass(frozen=True)
class Schedule:
    """The course of a run.

    Attributes:
        name: Name of the phase; random numbers depend on it.
        recipes: Recipes of the batches.
        planned: Number of clips of the whole run.
        span: Part of a longer schedule that the run covers, from and to in [0, 1].
        seed: Seed for all random numbers.
        with_flow: Whether batches carry the true flow.
        deadline: End of the run by the clock, which then replaces `planned`.
    """

    name: str
    recipes: Mixture
    planned: int
    span: tuple[float, float] = (0.0, 1.0)
    seed: int = 0
    with_flow: bool = False
    deadline: Deadline | None = None

    def progress(self, seen: int) -> float:
        """Return the position on the schedule after `seen` clips, or by the clock, in [0, 1]."""
        low, high = self.span
        return low + (high - low) * self._passed(seen)

    def is_over(self, seen: int) -> bool:
        """Return whether the run ends after `seen` clips."""
        return self._passed(seen) >= 1

    def _passed(self, seen: int) -> float:
        return seen / self.planned if self.deadline is None else self.deadline.passed

    def generator(self, use: Use, seen: int, part: int = 0) -> np.random.Generator:
        """Return the generator for one use in one part of the batch after `seen` clips."""
        name, number = zlib.crc32(self.name.encode()), get_args(Use).index(use)
        return np.random.default_rng([self.seed, name, seen, part, number])


@dataclass(frozen=True)
class Order:
    """A batch to be made, or this process's part of it.

    Attributes:
        recipe: Recipe of its clips.
        before: Clips that all processes have seen before it.
        after: Clips that all processes have seen after it.
    """

    recipe: Recipe
    before: int
    after: int


@dataclass(frozen=True)
class Batch(Order):
    """A batch of drawn clips."""

    clips: Clips


@dataclass(frozen=True)
class PlannedBatch(Order):
    """A batch that the device has yet to draw."""

    plans: PackedBatch


def orders(schedule: Schedule, *, seen: int = 0, part: Part = WHOLE) -> Iterator[Order]:
    """Yield orders from `seen` clips on: a resumed run gets the batches that it would have got.

    One place gives the orders that several worker processes carry out: by the clock, each worker
    would have its own idea of progress.
    """
    while not schedule.is_over(seen):
        progress = schedule.progress(seen)
        recipe = schedule.recipes.draw(progress, schedule.generator("recipe", seen))
        recipe = replace(recipe, batch=part.share(recipe.batch))
        after = seen + recipe.batch * part.parts
        yield Order(recipe, seen, after)
        seen = after


class Batches(Dataset[Batch | PlannedBatch]):
    """Makes batches to order."""

    def __init__(
        self,
        sources: Sources,
        schedule: Schedule,
        *,
        part: Part = WHOLE,
        planned_only: bool = False,
    ) -> None:
        """Take the images and the schedule; `planned_only` leaves the drawing to the device."""
        self._sources, self._schedule = sources, schedule
        self._part, self._planned_only = part, planned_only

    def __getitem__(self, order: Order) -> Batch | PlannedBatch:
        """Make a batch."""
        rng = self._schedule.generator("clips", order.before, self._part.number)
        if self._planned_only:
            plans = pack(plan_batch(self._sources, order.recipe, rng), order.recipe)
            return PlannedBatch(order.recipe, order.before, order.after, plans)
        clips = make_batch(self._sources, order.recipe, rng, with_flow=self._schedule.with_flow)
        return Batch(order.recipe, order.before, order.after, clips)


def load(
    sources: Sources,
    schedule: Schedule,
    *,
    seen: int,
    part: Part,
    workers: int,
    device: torch.device,
) -> Generator[Batch, None, None]:
    """Yield batches on their device, which worker processes make in advance.

    For a CPU the workers draw the clips. For a GPU they only plan them, and the GPU draws them from
    a copy of the images. Closing the generator ends the workers.

    Args:
        sources: The images.
        schedule: The course of the run.
        seen: Clips seen before the first batch.
        part: This process's part of every batch.
        workers: Number of processes; 0 makes batches here, when they are needed.
        device: Device to train on.
    """
    on_device = device.type != "cpu"
    batches = Batches(sources, schedule, part=part, planned_only=on_device)
    loader = make_loader(
        batches, orders(schedule, seen=seen, part=part), workers, from_scratch=on_device
    )  # fmt: skip
    others = set(active_children())
    made = iter(loader)
    started = set(active_children()) - others
    try:
        # The workers plan the first batches meanwhile.
        pictures = [picture.to(device) for picture in sources.pictures] if on_device else []
        for batch in made:
            if isinstance(batch, PlannedBatch):
                clips = render(batch.plans, pictures, with_flow=schedule.with_flow)
                yield Batch(batch.recipe, batch.before, batch.after, clips)
            else:
                yield batch
    finally:
        del made  # asks the workers to end
        for worker in started:
            worker.kill()
            worker.join()


def make_loader(
    batches: Batches, ordered: Iterator[Order], workers: int, *, from_scratch: bool
) -> DataLoader[Batch | PlannedBatch]:
    """Carry out orders in worker processes, some in advance.

    Args:
        batches: Makes the batches.
        ordered: Orders.
        workers: Number of processes; 0 for this one.
        from_scratch: Whether workers share nothing with this process. Necessary where it uses CUDA:
            a fork of it can neither use nor free what belongs to CUDA.
    """
    if from_scratch:  # import torch once for all workers
        get_context("forkserver").set_forkserver_preload(["torch"])
    return DataLoader(
        batches,
        sampler=ordered,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_leave_signals_to_parent,
        multiprocessing_context="forkserver" if from_scratch and workers else None,
    )


def _leave_signals_to_parent(worker: int) -> None:
    # Both signals may reach the whole process group; the run saves before it ends its workers.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
