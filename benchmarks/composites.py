"""Composite clips with 2 to 5 objects and known masks, made of held-out clips."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.layouts import Found
from training.motion import WAVES, Track, Warp
from training.packing import pack
from training.planning import plan_batch
from training.plans import ClipPlan
from training.recipes import Recipe
from training.render import render
from training.sources import Sources
from training.visible import visible_areas

FRAMES, HEIGHT, WIDTH = 16, 240, 432
SPEED = 0.25  # factor on the motion in training, which would carry objects out of the frame
LEAST_AREA = 200  # px of every object in frame 0
CLIPS_EACH = 3

Clip = tuple[str, list[NDArray[np.uint8]], list[NDArray[np.int32]]]


def composites(data: Path, *, seed: int = 0, clips_each: int = CLIPS_EACH) -> Iterator[Clip]:
    """Make clips: a held-out clip and its object, with cut-outs of the held-out clips on top.

    Args:
        data: Folder of data for `training/`.
        seed: Seed for all random numbers.
        clips_each: Number of clips with 2, 3, 4 and 5 objects each.

    Yields:
        Name, T frames (H, W, 3), T label maps (H, W).
    """
    held_out = Sources.read([data], max_stills=1).held_out
    sources = Sources([Found(videos=held_out)], held_out=())
    for objects in (2, 3, 4, 5):
        recipe = Recipe(
            HEIGHT, WIDTH, frames=FRAMES, objects=objects, real=1.0,
            max_gap=1, motion=SPEED, colour=0.0, twins=0.0,
        )  # fmt: skip
        rng = np.random.default_rng([seed, objects])
        for number in range(clips_each):
            clip = render(pack([_plan(sources, recipe, rng)], recipe), sources.pictures,
                          with_flow=False)  # fmt: skip
            shares, nearest = clip.masks[0].max(1)
            labels = (nearest + 1) * (shares >= 0.5)
            frames = clip.frames[0].permute(0, 2, 3, 1).contiguous().numpy()
            yield f"composite-{objects}-{number}", list(frames), list(labels.int().numpy())


def _plan(sources: Sources, recipe: Recipe, rng: np.random.Generator) -> ClipPlan:
    """Draw a plan that shows all objects, with the real clip as it was filmed."""
    while True:
        (plan,) = plan_batch(sources, recipe, rng)
        crop = plan.ground.crops[0]
        width, height = sources.pictures[crop.picture].size
        scale = max(WIDTH / width, HEIGHT / height)
        whole = tuple(replace(one, shrink=1) for one in plan.ground.crops)
        middle = ((width - 1) / 2, (height - 1) / 2)
        place = _scaling(1 / scale, ((WIDTH - 1) / 2, (HEIGHT - 1) / 2), middle)
        still = (_scaling(1.0, (0.0, 0.0), (0.0, 0.0)),) * (recipe.frames - 1)
        ground = replace(plan.ground, crops=whole, track=Track(place, still))
        plan = replace(plan, ground=ground)
        if min(visible_areas(plan, sources, recipe)) >= LEAST_AREA:
            return plan


def _scaling(factor: float, pivot: tuple[float, float], target: tuple[float, float]) -> Warp:
    none = np.zeros((WAVES, 2))
    return Warp(factor * np.eye(2), np.array(pivot), np.array(target), none, none, none[:, 0])
