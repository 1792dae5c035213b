"""Views of a pair of frames: enlarged, turned, mirrored, moved, in other colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from training.colours import change_colours, random_change
from training.motion import Floats, affine
from training.warps import pixel_points

TURN = 0.17  # radians, largest rotation
STRONGEST_NOISE = 6.0  # standard deviation, of 255
NOISE_SIDE = 256  # px, side of the plane that windows of noise are cut from
HALF = 2  # TinyFlowNet halves its input: drawing halved views costs a quarter


@dataclass(frozen=True)
class View:
    """A view of a pair of frames.

    Attributes:
        place: (2, 3) affine map from pixels of the view to pixels of the pair.
        moved: (2, 3) affine map from pixels of the view's earlier frame to their places without
            the added camera motion.
        colours: (3, 13) of `ColourChange.row`: changes of both frames, then of each.
        noise: Standard deviation of the noise, of 255.
        grain: (2, 2) px, row and column of the window of noise of each frame.
    """

    place: Floats
    moved: Floats
    colours: Floats
    noise: float
    grain: NDArray[np.int64]


def random_view(
    rng: np.random.Generator,
    source: tuple[int, int],
    size: tuple[int, int],
    *,
    zoom: tuple[float, float],
    camera: float,
) -> View:
    """Draw a view that lies inside the pair, where it fits.

    Args:
        rng: Source of random numbers.
        source: Height and width of the pair, px.
        size: Height and width of the view, px.
        zoom: Least and most pixels of the view per pixel of the pair.
        camera: Factor on the added camera motion, which half of the views lack.
    """
    low, high = zoom
    scale = low * (high / low) ** rng.random()
    matrix = affine(rng.uniform(-TURN, TURN), 1 / scale, math.exp(rng.normal(0, 0.05)), 0.0)
    mirror = np.where(rng.random(2) < [0.5, 0.25], -1.0, 1.0)  # seldom upside down
    matrix = matrix * mirror
    middle = (np.array(size[::-1]) - 1) / 2
    last = np.array(source[::-1]) - 1
    reach = np.minimum(
        np.abs(matrix) @ middle, last / 2
    )  # from the middle of the view to its sides
    centre = reach + rng.random(2) * (last - 2 * reach)
    place = np.column_stack([matrix, centre - matrix @ middle])

    speed = camera * rng.random() ** 2 * (rng.random() < 0.5)
    step = affine(rng.normal(0, 0.05 * speed), math.exp(rng.normal(0, 0.04 * speed)), 1.0, 0.0)
    shift = rng.normal(0, 0.05 * min(size), 2) * speed
    moved = np.column_stack([step, middle - step @ middle + shift])

    colours = [random_change(rng, strength).row for strength in (0.6, 0.15, 0.15)]
    noise = rng.uniform(0, STRONGEST_NOISE)
    grain = rng.integers(0, NOISE_SIDE - np.array(size) // HALF + 1, (2, 2))
    return View(place, moved, np.stack(colours), noise, grain)


def noise_plane(device: torch.device | str = "cpu") -> Tensor:
    """Make noise (3, side, side) of deviation 1, the same in every run."""
    numbers = np.random.default_rng(0).normal(size=(3, NOISE_SIDE, NOISE_SIDE))
    return torch.from_numpy(numbers.astype(np.float32)).to(device)


def look(
    views: Sequence[View], frames: Tensor, flow: Tensor, noise: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Draw views of pairs, one of each.

    With A(p) = B(p + f(p)) for a frame A and the one before, B, a view shows A(Mq) and B(MRq). Its
    pixel q was therefore at R⁻¹(q + L⁻¹ f(Mq)), where L is the linear part of M.

    Args:
        views: B views.
        frames: (B, 2, 3, H, W) uint8, each frame and the one before.
        flow: (B, 2, H, W) px, NaN where unknown.
        noise: Result of `noise_plane`.
        size: Height and width of the views, px.

    Returns:
        Frames (B, 2, 3, h, w) in 0..255 at half the size, and the flow (B, 2, h, w) of their pixels
        in px of the views, NaN where unknown.
    """
    drawn = size[0] // HALF, size[1] // HALF
    own = pixel_points(*drawn, frames.device) * HALF + (HALF - 1) / 2
    place = _numbers([view.place for view in views], own)
    moved = _numbers([view.moved for view in views], own)
    points, before = _apply(place, own[None]), _apply(moved, own[None])
    before = _apply(place, before)
    pictures = frames.flatten(0, 1).float()
    grid = _grid(torch.stack([points, before], 1).flatten(0, 1), frames.shape[-2:])
    seen = F.grid_sample(pictures, grid, padding_mode="border", align_corners=True)
    seen = seen.unflatten(0, (-1, 2)).transpose(1, 2)
    colours = _numbers([view.colours for view in views], own)
    seen = change_colours(change_colours(seen, colours[:, 0]), colours[:, 1:]).transpose(1, 2)

    steps = F.grid_sample(
        flow.float(), _grid(points, flow.shape[-2:]), mode="nearest", align_corners=True
    )
    last = points.new_tensor([flow.shape[-1] - 1, flow.shape[-2] - 1]).view(2, 1, 1)
    inside = ((points >= 0) & (points <= last)).all(1, keepdim=True)
    linear = torch.linalg.inv(place[:, :, :2])
    there = own + torch.einsum("bij,bjhw->bihw", linear, steps)
    shift = there - moved[:, :, 2, None, None]
    there = torch.einsum("bij,bjhw->bihw", torch.linalg.inv(moved[:, :, :2]), shift)
    seen = seen + _grain(views, noise, drawn)
    return seen.clamp_(0, 255), (there - own).masked_fill_(~inside, torch.nan)


def _numbers(rows: list[Floats], like: Tensor) -> Tensor:
    return torch.from_numpy(np.stack(rows)).to(like)


def _apply(maps: Tensor, points: Tensor) -> Tensor:
    """Map points (B or 1, 2, h, w) by B affine maps (B, 2, 3)."""
    return (
        torch.einsum("bij,bjhw->bihw", maps[:, :, :2], points.expand(len(maps), -1, -1, -1))
        + (maps[:, :, 2, None, None])
    )


def _grid(points: Tensor, size: Sequence[int]) -> Tensor:
    ends = points.new_tensor([size[1] - 1, size[0] - 1])
    return points.permute(0, 2, 3, 1) * (2 / ends) - 1


def _grain(views: Sequence[View], noise: Tensor, size: tuple[int, int]) -> Tensor:
    windows = [
        torch.stack([noise[:, y : y + size[0], x : x + size[1]] for y, x in view.grain.tolist()])
        * view.noise
        for view in views
    ]
    return torch.stack(windows)
