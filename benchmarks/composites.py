"""Clips with 2 to 5 objects whose masks are known, made of clips that nothing was trained on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.append(str(Path(__file__).resolve().parents[1] / "training"))

from layouts import Found
from motion import WAVES, Track, Warp
from packing import pack
from planning import plan_batch
from plans import ClipPlan
from recipes import Recipe
from render import render
from sources import Sources
from visible import visible_areas

FRAMES, HEIGHT, WIDTH = 16, 240, 432
SPEED = 0.25  # of the training's motion, which would carry objects out of the frame
LEAST_AREA = 200  # px of every object in frame 0
CLIPS_EACH = 3

Clip = tuple[str, NDArray[np.uint8], NDArray[np.int32]]


def composites(data: Path, *, seed: int = 0, clips_each: int = CLIPS_EACH) -> Iterator[Clip]:
    """Make the clips: a held-out clip with its own object, cut-outs of all of them on top.

    Args:
        data: The folder that `training/` reads.
        seed: Of everything.
        clips_each: Clips of 2, 3, 4 and 5 objects.

    Yields:
        Name, frames (T, H, W, 3), labels (T, H, W).
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
            yield f"composite-{objects}-{number}", frames, labels.int().numpy()


def _plan(sources: Sources, recipe: Recipe, rng: np.random.Generator) -> ClipPlan:
    """Draw a clip whose objects can all be seen, the real one shown as it was filmed."""
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
