"""What a run does when: everything is a function of its progress, clips seen / clips planned."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from torch.utils.data import DataLoader, IterableDataset

from data import make_batch
from layers import Clip, Recipe
from parallel import WHOLE, Part
from sources import Sources

WARM_UP = 0.03  # of the run; the learning rate rises
SHORT_PHASE = 0.15  # of the run; two small frames teach matching, cheaply
LARGE_CROPS_FROM = 0.45  # training scale must cover the test scale
LONG_CLIPS_FROM = 0.75  # the network meets its own drift


def learning_rate(progress: float, *, peak: float, end: float) -> float:
    """Rise linearly over `WARM_UP`, then fall by a half cosine from `peak` to `end`."""
    if progress < WARM_UP:
        return peak * max(progress, 0.001) / WARM_UP
    angle = math.pi * min(1.0, (progress - WARM_UP) / (1 - WARM_UP))
    return end + (peak - end) * 0.5 * (1 + math.cos(angle))


def hardest_part(progress: float) -> float:
    """Part of the pixels, the hardest, in the loss: all, then falling to a quarter at 50 %."""
    return min(1.0, max(0.25, 1 - 0.75 * (progress - 0.1) / 0.4))


def segmentation_recipe(progress: float, rng: np.random.Generator) -> Recipe:
    """Draw what the next batch is made of. Batches shrink as their clips grow."""
    if progress < SHORT_PHASE:
        recipe = Recipe(128, 128, frames=2, batch=16, real=0.2, max_gap=4)
    else:
        recipe = Recipe(160, 160, frames=3, batch=8, real=0.45, max_gap=5)
        kind = rng.random()
        if progress >= LONG_CLIPS_FROM and kind < 0.25:
            recipe = replace(recipe, frames=5, batch=5)
        elif progress >= LARGE_CROPS_FROM and kind < 0.6:
            recipe = replace(recipe, height=224, width=224, batch=6)
    if rng.random() < 0.25:
        recipe = replace(recipe, objects=2, batch=round(recipe.batch * 0.625))
    return recipe


def flow_recipe(progress: float, rng: np.random.Generator) -> Recipe:
    """Draw a batch of pairs with known flow; size and motion grow over the first half."""
    objects = int(rng.integers(1, 4))
    fastest = 0.2 + min(1.0, progress / 0.5)
    # Neighbouring frames of real clips mostly move little: half the batches are slow.
    motion = fastest if rng.random() < 0.5 else fastest * rng.uniform(0.05, 0.6)
    height, width = (128, 192) if progress < 0.5 else (192, 256)
    return Recipe(height, width, batch=8, objects=objects, motion=motion)


@dataclass(frozen=True)
class Batch:
    """A batch, or this process's part of it.

    Attributes:
        clips: With a leading batch axis.
        recipe: What they were made by.
        before: Clips seen before it, by all processes.
        after: Clips seen with it.
    """

    clips: Clip
    recipe: Recipe
    before: int
    after: int


class Batches(IterableDataset[Batch]):
    """The batches of a run from `seen` clips on.

    A batch depends on (seed, clips seen before it, progress) alone, so a resumed run meets the
    very batches it would have met.
    """

    def __init__(
        self,
        sources: Sources,
        draw: Callable[[float, np.random.Generator], Recipe],
        *,
        seed: int,
        seen: int,
        planned: int,
        part: Part = WHOLE,
    ) -> None:
        """Start at `seen` of `planned` clips; `draw` makes a recipe from progress."""
        self._sources, self._draw = sources, draw
        self._seed, self._seen, self._planned, self._part = seed, seen, planned, part

    def __iter__(self) -> Iterator[Batch]:
        """Make batches until the planned number of clips is reached."""
        seen = self._seen
        while seen < self._planned:
            recipe = self._draw(seen / self._planned, np.random.default_rng([self._seed, seen]))
            recipe = replace(recipe, batch=self._part.share(recipe.batch))
            after = seen + recipe.batch * self._part.parts
            rng = np.random.default_rng([self._seed, seen, self._part.number])
            yield Batch(make_batch(self._sources, recipe, rng), recipe, seen, after)
            seen = after


def load(batches: Batches, *, workers: int) -> Iterator[Batch]:
    """Make the batches in a process of their own (`workers` 1), or here (0)."""
    if workers not in (0, 1):
        raise ValueError(f"workers is {workers}; accepted: 0 or 1, as batches come in order")
    prefetch = 4 if workers else None
    return iter(DataLoader(batches, batch_size=None, num_workers=workers, prefetch_factor=prefetch))
