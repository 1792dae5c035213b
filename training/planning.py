"""Plans training clips with numpy alone: equal random numbers give equal clips on any device.

There are three kinds: a still moved whole, cut-outs pasted over a moving still, and a real clip
with something pasted over it. Of the first two, the flow of every pixel is known.
"""

from __future__ import annotations

import math

import numpy as np

from training.colours import random_change, without_colour
from training.motion import random_track
from training.plans import Beyond, ClipPlan, Crop, LayerPlan, random_size, shrink_for
from training.real_clips import real_ground
from training.recipes import Recipe
from training.sources import Cutout, Sources
from training.visible import visible_areas

THINNEST, LEAST_THIN = 8.0, 2.0  # factors on the aspect of a stretched cut-out
FARTHEST = 0.4  # of the shorter side; cut-outs that jump farther leave the frame
TRIES = 1000  # draws for a clip that shows its targets


def plan_batch(sources: Sources, recipe: Recipe, rng: np.random.Generator) -> list[ClipPlan]:
    """Draw the plans of a batch; equal generator states draw equal batches."""
    plans: list[ClipPlan] = []
    for _ in range(TRIES * recipe.batch):
        if len(plans) == recipe.batch:
            return plans
        plan = _plan_clip(sources, recipe, rng)
        if min(visible_areas(plan, sources, recipe)) >= recipe.least_area:
            plans.append(plan)
    raise ValueError(
        f"of {TRIES * recipe.batch} clips, nearly none shows {recipe.objects} objects of "
        f"{recipe.least_area:.0f} px; accepted: data with larger objects, or recipes with fewer"
    )


def _plan_clip(sources: Sources, recipe: Recipe, rng: np.random.Generator) -> ClipPlan:
    if rng.random() < recipe.real and sources.films:
        return _real_clip(sources, recipe, rng)
    if recipe.objects == 1 and rng.random() < recipe.moved_whole:
        return _moved_still(sources, recipe, rng)
    return _pasted_clip(sources, recipe, rng)


def _moved_still(sources: Sources, recipe: Recipe, rng: np.random.Generator) -> ClipPlan:
    """Move one photograph whole; its other objects are natural distractors."""
    cutout = sources.random_object(rng, whole=True)
    # Large enough that the photograph covers most of the frame.
    low = 0.9 * recipe.side * cutout.longer / min(cutout.size)
    size = random_size(rng, low, 1.1 * recipe.side, recipe.smallest)
    ground = _moving(cutout, size, recipe, rng, spread=0.18, beyond="grey")
    return _finish(ground, [], (-1,), recipe, rng)


def _pasted_clip(sources: Sources, recipe: Recipe, rng: np.random.Generator) -> ClipPlan:
    """Put N targets and up to two distractors over a moving still, each on its own walk."""
    number = sources.random_background(rng)
    width, height = sources.pictures[number].size
    scenery = Cutout(
        number, 0, (0, 0, width, height), ((width - 1) / 2, (height - 1) / 2), min(width, height)
    )
    size = recipe.side * rng.uniform(1.0, 1.7)
    ground = _moving(scenery, size, recipe, rng, spread=0.1, beyond="mirror", motion=0.7)
    cutouts = [sources.random_object(rng) for _ in range(recipe.objects)]
    sizes = [
        random_size(rng, recipe.smallest, 1.05 * recipe.side, recipe.smallest) for _ in cutouts
    ]
    for _ in range(rng.choice(3, p=[0.4, 0.4, 0.2])):
        if rng.random() < recipe.twins:  # a copy of a target, similar in size: only motion differs
            of = rng.integers(recipe.objects)
            cutouts.append(cutouts[of])
            sizes.append(sizes[of] * math.exp(rng.uniform(-0.35, 0.35)))
        else:
            cutouts.append(sources.random_object(rng))
            sizes.append(random_size(rng, recipe.smallest, 0.8 * recipe.side, recipe.smallest))
    layers = [
        _moving(cutout, size, recipe, rng, spread=0.35, motion=1.2, recoloured=0.5)
        for cutout, size in zip(cutouts, sizes, strict=True)
    ]
    order = rng.permutation(len(layers)).tolist()
    targets = tuple(order.index(n) for n in range(recipe.objects))
    return _finish(ground, [layers[i] for i in order], targets, recipe, rng)


def _real_clip(sources: Sources, recipe: Recipe, rng: np.random.Generator) -> ClipPlan:
    """Crop a real clip around its objects; paste further targets and distractors."""
    real = real_ground(sources, recipe, rng)
    own = len(real.object_ids)
    cutouts = [sources.random_object(rng) for _ in range(recipe.objects - own)]
    if rng.random() < 0.25:
        twin = None
        if rng.random() < recipe.twins:  # a copy of the object itself
            twin = real.random_twin(sources, rng)
        cutouts.append(twin or sources.random_object(rng))
    layers = []
    for cutout in cutouts:
        size = random_size(rng, recipe.smallest, 0.7 * recipe.side, recipe.smallest)
        layers.append(_moving(cutout, size, recipe, rng, spread=0.45, recoloured=0.3))
    targets = (*(-1 - k for k in range(own)), *range(recipe.objects - own))
    return _finish(real.ground, layers, targets, recipe, rng)


def _moving(
    cutout: Cutout,
    size: float,
    recipe: Recipe,
    rng: np.random.Generator,
    *,
    spread: float,
    beyond: Beyond = "nothing",
    motion: float = 1.0,
    recoloured: float = 0.0,
) -> LayerPlan:
    """Give a cut-out a random walk, with a size of `size` px in frame 0."""
    shrink, centre, scale = shrink_for(size / cutout.longer, cutout.size, cutout.centre)
    stretch = jump = exposure = 0.0
    if beyond == "nothing":
        stretch = _random_stretch(recipe, rng)
        jump = min(recipe.jump * size, FARTHEST * recipe.side)
        exposure = recipe.blur and max(0.0, rng.uniform(-recipe.blur, recipe.blur))
    x, y = rng.uniform(0.5 - spread, 0.5 + spread, 2)
    track = random_track(
        rng, recipe.frames, side=recipe.side, start=(x * recipe.width, y * recipe.height),
        centre=centre, scale=scale, extent=size, motion=motion * recipe.motion,
        stretch=stretch, jump=jump,
    )  # fmt: skip
    colours = None
    if recoloured and rng.random() < recoloured:
        colours = random_change(rng, 0.6 * recipe.colour)
    objects = (cutout.object_id,) if cutout.object_id else ()
    crop = Crop(cutout.picture, cutout.box, shrink, objects)
    return LayerPlan((crop,), track, beyond, colours, exposure)


def _random_stretch(recipe: Recipe, rng: np.random.Generator) -> float:
    """Draw the `stretch` of `random_track`; some cut-outs become upright or flat rods."""
    if not recipe.thin or rng.random() >= recipe.thin:
        return 0.0
    ratio = LEAST_THIN * (THINNEST / LEAST_THIN) ** rng.random()
    return 0.5 * math.log(ratio) * rng.choice((-1, 1))


def _finish(
    ground: LayerPlan,
    layers: list[LayerPlan],
    targets: tuple[int, ...],
    recipe: Recipe,
    rng: np.random.Generator,
) -> ClipPlan:
    """Add colour changes of the clip, and slight ones of each frame."""
    changes = None
    if recipe.colour:
        whole = random_change(rng, recipe.colour)
        frames = [random_change(rng, 0.15 * recipe.colour) for _ in range(recipe.frames)]
        if rng.random() < 0.04:
            frames = [without_colour(frame) for frame in frames]
        changes = (whole, *frames)
    return ClipPlan(ground, tuple(layers), targets, changes)
