"""Draws planned clips on a device, all layers of a kind with one sampling call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from training.by_value import ByValue
from training.colours import GREY, change_colours
from training.packing import LayerGroup, PackedBatch, pack
from training.pictures import Picture
from training.planning import plan_batch
from training.plans import Crop
from training.recipes import Recipe
from training.sources import Sources
from training.warps import look_up, mirrored, track_points

MOMENTS = 9  # a blurred cut-out is the mean of so many


@dataclass(frozen=True)
class Clips(ByValue):
    """B clips.

    Attributes:
        frames: (B, T, 3, H, W) uint8.
        masks: (B, T, N, H, W) float in [0, 1], the visible part of each target.
        flow: (B, T-1, 2, H, W) px from frame t to t-1 of the surfaces visible at t; (B, 0, ...)
            without flow.
        visible: (B, T-1, H, W) bool, whether that surface is visible in frame t-1 too.
    """

    frames: Tensor
    masks: Tensor
    flow: Tensor
    visible: Tensor


def make_batch(
    sources: Sources, recipe: Recipe, rng: np.random.Generator, *, with_flow: bool | None = None
) -> Clips:
    """Plan and draw a batch on the CPU; equal generator states make equal batches.

    Args:
        sources: The images.
        recipe: Recipe of the clips.
        rng: Source of random numbers.
        with_flow: Whether to compute the flow; None to compute it where no clip can be real, since
            only then it is known.
    """
    wanted = recipe.real == 0 if with_flow is None else with_flow
    plans = plan_batch(sources, recipe, rng)
    # Clip by clip, to stay in the cache of the processor.
    clips = [render(pack([plan], recipe), sources.pictures, with_flow=wanted) for plan in plans]
    names = ("frames", "masks", "flow", "visible")
    return Clips(*(torch.cat([getattr(clip, name) for clip in clips]) for name in names))


def render(packed: PackedBatch, pictures: Sequence[Picture], *, with_flow: bool) -> Clips:
    """Draw planned clips on the device of the pictures.

    Args:
        packed: The plans.
        pictures: `Sources.pictures`, all on one device.
        with_flow: Whether to compute the flow; that of real clips is wrong.
    """
    recipe, device = packed.recipe, pictures[0].image.device
    shape = (recipe.frames, recipe.height, recipe.width)
    objects = recipe.objects
    ground = torch.zeros((packed.batch, 3 + objects, *shape), device=device)
    flow = torch.zeros((packed.batch, 2, recipe.frames - 1, *shape[1:]), device=device)
    for group in (packed.stills, packed.films):
        if len(group):
            rows = _sent(group.clips, device)
            planes, flows = _draw(group, pictures, recipe, masks=objects)
            ground[rows], flow[rows] = planes, flows
    frames, own = ground[:, :3], ground[:, 3:]
    depths = 1 + int(packed.cutouts.depths.max()) if len(packed.cutouts) else 0
    seen = torch.zeros((packed.batch, depths, *shape), device=device)
    top = torch.zeros((packed.batch, *shape), dtype=torch.int16, device=device)
    if depths:
        planes, flows = _draw(packed.cutouts, pictures, recipe, masks=1)
        for depth in range(depths):
            chosen = packed.cutouts.depths == depth
            layer = _sent(chosen.nonzero()[:, 0], device)
            rows = _sent(packed.cutouts.clips[chosen], device)
            alpha = planes[layer, 3]
            # Colours are sampled without the mask, so border pixels keep their own colour.
            frames[rows] = torch.lerp(frames[rows], planes[layer, :3], alpha[:, None])
            own[rows] = own[rows] * (1 - alpha[:, None])
            seen[rows, :depth] = seen[rows, :depth] * (1 - alpha[:, None])
            seen[rows, depth] = alpha
            if with_flow:
                above = alpha >= 0.5
                top[rows] = top[rows].masked_fill(above, depth + 1)
                flow[rows] = torch.where(above[:, None, 1:], flows[layer], flow[rows])
    if packed.colours is not None:
        colours = _sent(packed.colours, device)
        frames = change_colours(change_colours(frames, colours[:, 0]), colours[:, 1:])
    frames = frames.round().clamp_(0, 255).byte().transpose(1, 2)
    # Masks of the layers, then of the ground from its last to its first: -1 - k counts from there.
    masks = torch.cat([seen, own.flip(1)], 1)
    chosen = _sent(torch.tensor(packed.targets) % masks.shape[1], device)
    masks = masks.gather(1, chosen.view(*chosen.shape, 1, 1, 1).expand(-1, -1, *shape))
    flow = flow.transpose(1, 2) if with_flow else flow.transpose(1, 2)[:, :0]
    visible = _seen_before(top, flow) if with_flow else top[:, :0].bool()
    return Clips(frames.contiguous(), masks.transpose(1, 2).contiguous(), flow, visible)


def _draw(
    group: LayerGroup, pictures: Sequence[Picture], recipe: Recipe, *, masks: int
) -> tuple[Tensor, Tensor]:
    """Draw layers: planes (L, 3 + masks, T, H, W), and flows (L, 2, T-1, H, W)."""
    device = pictures[0].image.device
    sizes = _sent(torch.tensor([_shrunk_size(crops[0]) for crops in group.crops]), device)
    points, flows = track_points(_sent(group.tracks, device), recipe.height, recipe.width)
    if group.mirror.any():
        mirror = _sent(group.mirror, device).view(-1, 1, 1, 1, 1)
        points = torch.where(mirror, mirrored(points, sizes), points)
    crops = [crop for crops in group.crops for crop in crops]
    each = len(crops) // len(group)  # crops a layer: 1, or T
    canvases = _canvases(crops, group.grey.repeat_interleave(each).tolist(), pictures, masks)
    if each > 1:
        points = points.transpose(1, 2).flatten(0, 1).unsqueeze(2)
    if group.exposures.any():
        planes = _exposed(canvases, points, _sent(group.exposures, device))
    else:
        planes = look_up(canvases, points)
    if each > 1:
        planes = planes.squeeze(2).unflatten(0, (-1, each)).transpose(1, 2)
    if group.grey.any():
        planes[:, :3] += GREY * _sent(group.grey, device).view(-1, 1, 1, 1, 1)
    if group.colours is not None:
        changed = change_colours(planes[:, :3], _sent(group.colours, device), pivot=GREY)
        planes = torch.cat([changed, planes[:, 3:]], 1)
    return planes, flows


def _sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Send a tensor to the device without waiting for it."""
    return tensor.to(device, non_blocking=True)


def _exposed(canvases: Tensor, points: Tensor, exposures: Tensor) -> Tensor:
    """Sample cut-outs over the exposure of each frame.

    Between two frames, a point of the frame moves along a straight line over the picture.

    Args:
        canvases: (L, 4, h, w), colours and a mask.
        points: (L, 2, T, H, W), T of 2 or more.
        exposures: (L,) parts of the time between two frames.
    """
    before = torch.cat([2 * points[:, :, :1] - points[:, :, 1:2], points[:, :, :-1]], 2)
    colours = masks = canvases.new_zeros(())
    for part in torch.linspace(0, 1, MOMENTS).tolist():
        planes = look_up(canvases, points.lerp(before, part * exposures.view(-1, 1, 1, 1, 1)))
        masks = masks + planes[:, 3:] / MOMENTS
        # Weighted by the mask: the surroundings of the object must not smear into it.
        colours = colours + planes[:, :3] * planes[:, 3:] / MOMENTS
    return torch.cat([colours / masks.clamp(min=1e-4), masks], 1)


def _canvases(
    crops: list[Crop], grey: list[bool], pictures: Sequence[Picture], masks: int
) -> Tensor:
    """Cut out and shrink crops, and put each into the top left corner of a canvas of zeros."""
    sizes = [_shrunk_size(crop) for crop in crops]
    width, height = (max(size[axis] for size in sizes) for axis in range(2))
    canvases = torch.zeros(
        (len(crops), 3 + masks, height, width), device=pictures[0].image.device
    )  # fmt: skip
    for canvas, crop, (w, h), is_grey in zip(canvases, crops, sizes, grey, strict=True):
        x0, y0, x1, y1 = crop.box
        picture = pictures[crop.picture]
        planes = picture.image[:, y0:y1, x0:x1]
        if is_grey:  # beyond it is 0
            planes = planes - GREY
        canvas[:3, :h, :w] = _shrink(planes, crop.shrink)
        labels = picture.labels[y0:y1, x0:x1]
        for channel, object_id in enumerate(crop.objects, 3):
            canvas[channel, :h, :w] = _shrink((labels == object_id)[None], crop.shrink)[0]
    return canvases


def _shrunk_size(crop: Crop) -> tuple[int, int]:
    x0, y0, x1, y1 = crop.box
    return -(-(x1 - x0) // crop.shrink), -(-(y1 - y0) // crop.shrink)


def _shrink(planes: Tensor, factor: int) -> Tensor:
    """Average (C, h, w) over squares, which the borders may cut off."""
    if factor == 1:
        return planes
    return F.avg_pool2d(planes.float()[None], factor, ceil_mode=True)[0]


def _seen_before(top: Tensor, flow: Tensor) -> Tensor:
    """Return whether the layer on top at t is on top at the end of its flow too, in t-1."""
    height, width = top.shape[2:]
    y = torch.arange(height, device=top.device).view(-1, 1)
    x = torch.arange(width, device=top.device)
    x, y = (x + flow[:, :, 0]).round().long(), (y + flow[:, :, 1]).round().long()
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    index = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
    before = top[:, :-1].flatten(2).gather(2, index.flatten(2)).view_as(index)
    return inside & (before == top[:, 1:])
