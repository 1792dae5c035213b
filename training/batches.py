"""The batches of a run, each a function of the seed, the clips seen before it, and progress."""

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

from clock import Deadline
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
        deadline: When the run ends, in place of `planned`.
    """

    name: str
    recipes: Mixture
    planned: int
    span: tuple[float, float] = (0.0, 1.0)
    seed: int = 0
    with_flow: bool = False
    deadline: Deadline | None = None

    def progress(self, seen: int) -> float:
        """Where on the schedule a run is after `seen` clips, or now if it goes by the clock."""
        low, high = self.span
        return low + (high - low) * self._passed(seen)

    def is_over(self, seen: int) -> bool:
        """Whether the run ends here."""
        return self._passed(seen) >= 1

    def _passed(self, seen: int) -> float:
        return seen / self.planned if self.deadline is None else self.deadline.passed

    def generator(self, use: Use, seen: int, part: int = 0) -> np.random.Generator:
        """Random numbers of the batch that begins after `seen` clips, for one use in one part."""
        name, number = zlib.crc32(self.name.encode()), get_args(Use).index(use)
        return np.random.default_rng([self.seed, name, seen, part, number])


@dataclass(frozen=True)
class Order:
    """A batch to be made, or this process's part of it.

    Attributes:
        recipe: What by.
        before: Clips seen before it, by all processes.
        after: Clips seen with it.
    """

    recipe: Recipe
    before: int
    after: int


@dataclass(frozen=True)
class Batch(Order):
    """A batch.

    Attributes:
        clips: Drawn, or planned only, where a device is to draw them.
    """

    clips: Clips | PackedBatch


def orders(schedule: Schedule, *, seen: int = 0, part: Part = WHOLE) -> Iterator[Order]:
    """Order batches from `seen` clips on: a resumed run meets those it would have met.

    Orders are given in one place, though several processes carry them out: by the clock, each
    would have its own idea of progress.
    """
    while not schedule.is_over(seen):
        progress = schedule.progress(seen)
        recipe = schedule.recipes.draw(progress, schedule.generator("recipe", seen))
        recipe = replace(recipe, batch=part.share(recipe.batch))
        after = seen + recipe.batch * part.parts
        yield Order(recipe, seen, after)
        seen = after


class Batches(Dataset[Batch]):
    """Batches by their orders."""

    def __init__(
        self,
        sources: Sources,
        schedule: Schedule,
        *,
        part: Part = WHOLE,
        planned_only: bool = False,
    ) -> None:
        """`planned_only` leaves the drawing to the device."""
        self._sources, self._schedule = sources, schedule
        self._part, self._planned_only = part, planned_only

    def __getitem__(self, order: Order) -> Batch:
        """Make a batch."""
        rng = self._schedule.generator("clips", order.before, self._part.number)
        if self._planned_only:
            clips = pack(plan_batch(self._sources, order.recipe, rng), order.recipe)
        else:
            clips = make_batch(
                self._sources, order.recipe, rng, with_flow=self._schedule.with_flow
            )  # fmt: skip
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
    """Batches on their device, made ahead by `workers` processes (0: here, when asked for).

    For a CPU workers draw the clips; for a GPU they only plan them, and the GPU draws: its copy
    of the images is made here. Closing the generator ends the processes.
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
        # While the workers plan the first batches.
        pictures = [picture.to(device) for picture in sources.pictures] if on_device else []
        for batch in made:
            if isinstance(batch.clips, PackedBatch):
                clips = render(batch.clips, pictures, with_flow=schedule.with_flow)
                yield replace(batch, clips=clips)
            else:
                yield batch
    finally:
        del made  # which asks them to end
        for worker in started:
            worker.kill()
            worker.join()


def make_loader(
    batches: Batches, ordered: Iterator[Order], workers: int, *, from_scratch: bool
) -> DataLoader[Batch]:
    """Carry orders out in `workers` processes, some ahead.

    Args:
        batches: That are ordered.
        ordered: Orders.
        workers: Processes; 0 for this one.
        from_scratch: Whether workers share nothing with this process. They must not where it uses
            CUDA: in a fork of it, whatever belongs to CUDA can neither be used nor freed.
    """
    if from_scratch:  # one import of torch, and of what comes with it, for all workers
        get_context("forkserver").set_forkserver_preload(["torch"])
    return DataLoader(
        batches,
        sampler=ordered,  # pyright: ignore[reportArgumentType]
        batch_size=None,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_leave_signals_to_parent,
        multiprocessing_context="forkserver" if from_scratch and workers else None,
    )


def _leave_signals_to_parent(worker: int) -> None:
    # Both may reach the whole process group; the run ends its workers once it has saved.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
