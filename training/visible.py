"""Estimates the visible area of targets without drawing the clip."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.motion import Floats
from training.plans import ClipPlan, Crop
from training.recipes import Recipe
from training.sources import Sources

ACROSS = 50  # sample points along the shorter side; at least 4 across an object


def visible_areas(plan: ClipPlan, sources: Sources, recipe: Recipe) -> list[float]:
    """Estimate the visible area of each target in frame 0, px."""
    step = max(1, min(recipe.side // ACROSS, int(recipe.smallest) // 4))
    y, x = np.mgrid[step // 2 : recipe.height : step, step // 2 : recipe.width : step]
    points = np.stack([x.ravel(), y.ravel()], 1).astype(float)
    free = np.ones(len(points), bool)
    seen: dict[int, int] = {}
    for number, layer in reversed(list(enumerate(plan.layers))):
        crop = layer.crops[0]
        inside = _shows(crop, crop.objects[0], layer.track.place(points), sources)
        seen[number] = int((inside & free).sum())
        free &= ~inside
    ground = plan.ground.crops[0]
    for channel, object_id in enumerate(ground.objects):
        inside = _shows(ground, object_id, plan.ground.track.place(points), sources)
        seen[-1 - channel] = int((inside & free).sum())
    return [seen[target] * step * step for target in plan.targets]


def _shows(crop: Crop, object_id: int, points: Floats, sources: Sources) -> NDArray[np.bool_]:
    """Return whether points (P, 2) of the shrunk crop lie on an object."""
    whole = np.floor((points + 0.5) * crop.shrink).astype(int)
    x, y = whole[:, 0] + crop.box[0], whole[:, 1] + crop.box[1]
    inside = (x >= crop.box[0]) & (x < crop.box[2]) & (y >= crop.box[1]) & (y < crop.box[3])
    labels = sources.pictures[crop.picture].labels.numpy()
    found = np.zeros(len(points), bool)
    found[inside] = labels[y[inside], x[inside]] == object_id
    return found
