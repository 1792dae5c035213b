"""Training clips, made on the fly.

Three kinds: a still moved whole, cut-outs pasted over a moving still, and a real clip with
something pasted over it. The first two know the flow of every pixel.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from layers import Clip, Layer, Recipe, finish, jitter_colours, random_place, stack_layers
from motion import random_track, sample
from sources import Cutout, Sources, cut

SMALLEST = 24.0  # px; the smallest objects drawn. Test clips have smaller ones, few and hopeless.
LEAST_AREA = 60.0  # px of every target in frame 0
GREY = 115.0  # what is beyond a still moved whole; its channels' mean, about


def make_batch(sources: Sources, recipe: Recipe, rng: np.random.Generator) -> Clip:
    """Make a batch; the same generator state makes the same batch.

    `flow` and `visible` are there only if no clip is real.
    """
    clips: list[Clip] = []
    while len(clips) < recipe.batch:
        if rng.random() < recipe.real:
            clip = real_clip(sources, recipe, rng)
        elif recipe.objects == 1 and rng.random() < 0.4:
            clip = moved_still(sources, recipe, rng)
        else:
            clip = pasted_clip(sources, recipe, rng)
        if clip.masks[0].sum((-2, -1)).min() >= LEAST_AREA:
            clips.append(clip)
    synthetic = recipe.real == 0
    return Clip(
        torch.stack([clip.frames for clip in clips]),
        torch.stack([clip.masks for clip in clips]),
        torch.stack([clip.flow if synthetic else clip.flow[:0] for clip in clips]),
        torch.stack([clip.visible if synthetic else clip.visible[:0] for clip in clips]),
    )


def random_size(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw an object's longer side in px, log-uniformly: every scale is met as often."""
    low = max(low, SMALLEST)
    return low * (max(high, low) / low) ** rng.random()


def moved_still(sources: Sources, recipe: Recipe, rng: np.random.Generator) -> Clip:
    """One photograph that moves whole: its other objects are natural distractors."""
    cutout = sources.random_object(rng, whole=True)
    side = recipe.side
    # Not so small that most of the frame would lie beyond the photograph.
    low = 0.9 * side * cutout.size / min(cutout.picture.shape[1:])
    size = random_size(rng, low, 1.1 * side)
    picture = cutout.picture.clone()
    picture[:3] -= GREY  # beyond the picture is 0
    cutout = Cutout(picture, cutout.centre, cutout.size)
    layer = Layer.moving(cutout, size, recipe, rng, spread=0.18)
    seen = layer.picture
    frames, masks = seen[:, :3] + GREY, seen[:, 3:]
    top = torch.zeros_like(masks[:, 0], dtype=torch.long)
    return finish(frames, masks, top, [layer.flow], recipe, rng)


def pasted_clip(sources: Sources, recipe: Recipe, rng: np.random.Generator) -> Clip:
    """N targets and up to two distractors over a moving still, each on its own walk."""
    image = sources.random_background(rng)
    shorter = min(image.shape[1:])
    centre = ((image.shape[2] - 1) / 2, (image.shape[1] - 1) / 2)
    background = Cutout(image.float(), centre, shorter)
    size = recipe.side * rng.uniform(1.0, 1.7)
    ground = Layer.moving(background, size, recipe, rng, spread=0.1, reflect=True, motion=0.7)
    cutouts = [sources.random_object(rng) for _ in range(recipe.objects)]
    sizes = [random_size(rng, SMALLEST, 1.05 * recipe.side) for _ in cutouts]
    for _ in range(rng.choice(3, p=[0.4, 0.4, 0.2])):
        if rng.random() < 0.5:  # a twin of a target, near its size: only its motion differs
            of = rng.integers(recipe.objects)
            cutouts.append(cutouts[of])
            sizes.append(sizes[of] * math.exp(rng.uniform(-0.35, 0.35)))
        else:
            cutouts.append(sources.random_object(rng))
            sizes.append(random_size(rng, SMALLEST, 0.8 * recipe.side))
    layers = [
        Layer.moving(_recoloured(c, recipe, rng, 0.5), s, recipe, rng, spread=0.35, motion=1.2)
        for c, s in zip(cutouts, sizes, strict=True)
    ]
    order = rng.permutation(len(layers)).tolist()
    frames, alphas, top = stack_layers(ground.picture, [layers[i].picture for i in order])
    targets = torch.stack([alphas[order.index(n)] for n in range(recipe.objects)], 1)
    flows = [ground.flow, *(layers[i].flow for i in order)]
    return finish(frames, targets, top, flows, recipe, rng)


def real_clip(sources: Sources, recipe: Recipe, rng: np.random.Generator) -> Clip:
    """A crop around the object of a DAVIS clip; further targets and distractors are pasted."""
    side, names = recipe.side, list(sources.videos)
    while True:
        video = sources.videos[names[rng.integers(len(names))]]
        gaps = rng.integers(1, recipe.max_gap + 1, recipe.frames - 1)
        numbers = rng.integers(len(video.frames)) + np.concatenate([[0], np.cumsum(gaps)])
        if numbers[-1] >= len(video.frames):
            continue
        if rng.random() < 0.5:
            numbers = numbers[::-1].copy()
        shown = video.masks[int(rng.choice(numbers))] > 0
        if video.masks[numbers[0]].sum() >= LEAST_AREA and shown.sum() >= LEAST_AREA:
            break
    rows, columns = shown.any(1).nonzero()[:, 0], shown.any(0).nonzero()[:, 0]
    extent = float(max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1)
    centre = (float(columns[0] + columns[-1]) / 2, float(rows[0] + rows[-1]) / 2)
    scale = random_size(rng, SMALLEST, side) / extent
    # Never so small that the crop is mostly mirror images, nor blown up beyond sharpness.
    scale = min(max(scale, 0.85 * side / min(shown.shape)), 2.2)
    flip = bool(rng.random() < 0.5)
    start = _inside(random_place(rng, recipe, 0.15), centre, scale, shown, recipe, flip=flip)
    track = random_track(
        rng, recipe.frames, side=side, start=start, centre=centre, scale=scale,
        extent=extent * scale, motion=0.2, pose=0.3, flip=flip,
    )  # fmt: skip
    points, _ = track.points(recipe.height, recipe.width)
    seen = []
    for t, number in enumerate(numbers):
        picture = torch.cat([video.frames[number], video.masks[number][None]]).float()
        seen.append(sample(picture, points[:, t : t + 1], reflect=True)[0])
    seen = torch.stack(seen)
    cutouts = [sources.random_object(rng) for _ in range(recipe.objects - 1)]
    if rng.random() < 0.25:
        twin = None
        if rng.random() < 0.5:  # the object itself once more: a second camel
            other = int(rng.integers(len(video.frames)))
            twin = cut(video.frames[other], video.masks[other] > 0)
        cutouts.append(twin or sources.random_object(rng))
    layers = [
        Layer.moving(
            _recoloured(c, recipe, rng, 0.3), random_size(rng, SMALLEST, 0.7 * side), recipe, rng,
            spread=0.45, motion=1.0,
        )
        for c in cutouts
    ]  # fmt: skip
    frames, alphas, top = stack_layers(seen[:, :3], [layer.picture for layer in layers])
    own = seen[:, 3] * (1 - torch.stack([torch.zeros_like(top), *alphas]).sum(0).clamp(max=1))
    targets = torch.stack([own, *alphas[: recipe.objects - 1]], 1)
    return finish(frames, targets, top, None, recipe, rng)


def _recoloured(cutout: Cutout, recipe: Recipe, rng: np.random.Generator, chance: float) -> Cutout:
    if rng.random() >= chance:
        return cutout
    colours = jitter_colours(cutout.picture[:3], rng, 0.6 * recipe.colour)
    return Cutout(torch.cat([colours, cutout.picture[3:]]), cutout.centre, cutout.size)


def _inside(
    start: tuple[float, float],
    centre: tuple[float, float],
    scale: float,
    shown: Tensor,
    recipe: Recipe,
    *,
    flip: bool,
) -> tuple[float, float]:
    """Shift a crop into its picture where it fits; beyond are only mirror images."""
    placed = []
    for axis, length in enumerate((recipe.width, recipe.height)):
        before = centre[axis] * scale
        after = (shown.shape[1 - axis] - 1 - centre[axis]) * scale
        if flip and axis == 0:
            before, after = after, before
        low, high = length - after, before
        placed.append(min(max(start[axis], low), high) if low < high else (low + high) / 2)
    return placed[0], placed[1]
