"""Grounds of real training clips: frames of a film, cropped around some of its objects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.motion import random_track
from training.pictures import Box
from training.plans import Crop, LayerPlan, random_size, shrink_for
from training.recipes import Recipe
from training.sources import MIN_OBJECT, Cutout, Film, Sources

TRIES = 1000
LARGEST_SCALE = 2.2  # frame px per source px; beyond, pictures only get blurred


@dataclass(frozen=True)
class RealGround:
    """A layer of frames of a film.

    Attributes:
        ground: The layer, with one mask for each of `object_ids`.
        object_ids: Labels of the targets in the film.
        film: The film.
    """

    ground: LayerPlan
    object_ids: tuple[int, ...]
    film: Film

    def random_twin(self, sources: Sources, rng: np.random.Generator) -> Cutout | None:
        """Cut a target out of a random frame of the film; None if it is too small there."""
        number = self.film.numbers[rng.integers(len(self.film.numbers))]
        box = sources.pictures[number].boxes.get(self.object_ids[0])
        if box is None or min(box[2] - box[0], box[3] - box[1]) < MIN_OBJECT:
            return None
        return sources.cut(number, self.object_ids[0])


def real_ground(sources: Sources, recipe: Recipe, rng: np.random.Generator) -> RealGround:
    """Draw frames, targets (at most the recipe's number) and a moving crop around them."""
    film, numbers, object_ids, box = _draw_frames(sources, recipe, rng)
    side, size = recipe.side, sources.pictures[numbers[0]].size
    extent = float(max(box[2] - box[0], box[3] - box[1]))
    centre = ((box[0] + box[2] - 1) / 2, (box[1] + box[3] - 1) / 2)
    scale = random_size(rng, recipe.smallest, side, recipe.smallest) / extent
    # Neither so small that mirror images fill the crop, nor too large to be sharp.
    scale = min(max(scale, 0.85 * side / min(size)), LARGEST_SCALE)
    flip = bool(rng.random() < 0.5)
    x, y = rng.uniform(0.35, 0.65, 2)
    start = _inside(
        (x * recipe.width, y * recipe.height), centre, scale, size, recipe, flip=flip
    )  # fmt: skip
    shrink, centre, drawn = shrink_for(scale, size, centre)
    track = random_track(
        rng, recipe.frames, side=side, start=start, centre=centre, scale=drawn,
        extent=extent * scale, motion=0.2, pose=0.3, flip=flip,
    )  # fmt: skip
    crops = tuple(Crop(number, (0, 0, *size), shrink, object_ids) for number in numbers)
    return RealGround(LayerPlan(crops, track, "mirror"), object_ids, film)


def _draw_frames(
    sources: Sources, recipe: Recipe, rng: np.random.Generator
) -> tuple[Film, list[int], tuple[int, ...], Box]:
    """Draw a film, frames of it, targets in the first of them, and a box to crop around."""
    names = list(sources.films)
    for _ in range(TRIES):
        film = sources.films[names[rng.integers(len(names))]]
        gaps = rng.integers(1, recipe.max_gap + 1, recipe.frames - 1)
        gaps = np.maximum(1, np.round(gaps / film.step)).astype(int)
        places = rng.integers(len(film.numbers)) + np.concatenate([[0], np.cumsum(gaps)])
        if places[-1] >= len(film.numbers):
            continue
        if rng.random() < 0.5:
            places = places[::-1]
        numbers = [film.numbers[place] for place in places.tolist()]
        areas = sources.pictures[numbers[0]].areas
        focus = sources.pictures[numbers[rng.integers(len(numbers))]]
        shown = [
            object_id
            for object_id, area in areas.items()
            if min(area, focus.areas.get(object_id, 0)) >= recipe.least_area
        ]
        if shown:
            chosen = rng.permutation(shown)[: recipe.objects].tolist()
            boxes = np.array([focus.boxes[object_id] for object_id in chosen])
            (x0, y0), (x1, y1) = boxes[:, :2].min(0).tolist(), boxes[:, 2:].max(0).tolist()
            return film, numbers, tuple(chosen), (x0, y0, x1, y1)
    raise ValueError(
        f"{TRIES} draws of {recipe.frames} frames of a clip found no object of "
        f"{recipe.least_area:.0f} px at both ends; accepted: clips with longer or larger masks, or "
        "recipes with fewer frames or real=0"
    )


def _inside(
    start: tuple[float, float],
    centre: tuple[float, float],
    scale: float,
    size: tuple[int, int],
    recipe: Recipe,
    *,
    flip: bool,
) -> tuple[float, float]:
    """Shift a crop so that it lies inside its picture, where it fits."""
    placed = []
    for axis, length in enumerate((recipe.width, recipe.height)):
        before = centre[axis] * scale
        after = (size[axis] - 1 - centre[axis]) * scale
        if flip and axis == 0:
            before, after = after, before
        low, high = length - after, before
        placed.append(min(max(start[axis], low), high) if low < high else (low + high) / 2)
    return placed[0], placed[1]
