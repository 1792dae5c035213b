"""Views: the squares of a frame that the prompt network looks at, and prompts in them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from rmnet.geometry import resize

SIDE = 256  # px, side of a view inside the network
CLICK_DEVIATION = 6.0  # px in a view, of the Gaussian around a click


@dataclass(frozen=True, slots=True)
class View:
    """A square of a frame, in whole pixels; it may reach beyond the frame."""

    left: int
    top: int
    side: int

    @classmethod
    def around(cls, box: tuple[float, float, float, float], zoom: float) -> View:
        """Return the square around a box, `zoom` times its longer side."""
        x0, y0, x1, y1 = box
        side = max(x1 - x0, y1 - y0, 16) * zoom
        left, top = round((x0 + x1 - side) / 2), round((y0 + y1 - side) / 2)
        return cls(left, top, math.ceil(side))

    def cut(self, planes: Tensor) -> Tensor:
        """Cut the view out of planes (C, H, W) and resize it: (1, C, SIDE, SIDE), zeros outside."""
        height, width = planes.shape[1:]
        right, bottom = self.left + self.side, self.top + self.side
        inside = planes[:, max(self.top, 0) : bottom, max(self.left, 0) : right]
        margins = (-self.left, right - width, -self.top, bottom - height)
        padded = F.pad(inside, [max(margin, 0) for margin in margins])
        return resize(padded[None], (SIDE, SIDE))

    def paste(self, planes: Tensor, size: tuple[int, int], outside: float) -> Tensor:
        """Undo `cut` for planes (1, C, SIDE, SIDE): (C, H, W), with `outside` around the view."""
        height, width = size
        whole = resize(planes, (self.side, self.side))[0]
        top, left = max(self.top, 0), max(self.left, 0)
        bottom, right = min(self.top + self.side, height), min(self.left + self.side, width)
        pasted = whole.new_full((len(whole), height, width), outside)
        pasted[:, top:bottom, left:right] = whole[
            :, top - self.top : bottom - self.top, left - self.left : right - self.left
        ]
        return pasted

    def to_view(self, coordinates: Tensor) -> Tensor:
        """Turn x, y, x, y, ... (..., 2 or 4) of the frame into pixels of the view."""
        corner = coordinates.new_tensor([self.left, self.top]).repeat(coordinates.shape[-1] // 2)
        return (coordinates - corner) * (SIDE / self.side)


def box_planes(boxes: Tensor) -> Tensor:
    """Return planes (B, 1, SIDE, SIDE), 1 inside boxes (B, 4) of view pixels, half-open."""
    edges = boxes.round().clamp(0, SIDE)
    steps = torch.arange(SIDE, device=boxes.device)
    inside_x = (steps >= edges[:, 0:1]) & (steps < edges[:, 2:3])
    inside_y = (steps >= edges[:, 1:2]) & (steps < edges[:, 3:4])
    return (inside_y[:, None, :, None] & inside_x[:, None, None, :]).float()


def click_planes(points: Tensor) -> Tensor:
    """Return Gaussians (B, 1, SIDE, SIDE) around points (B, 2) of view pixels, x first."""
    steps = torch.arange(SIDE, device=points.device, dtype=torch.float32)
    x, y = (torch.exp(-((steps - p[:, None]) ** 2) / (2 * CLICK_DEVIATION**2)) for p in points.T)
    return (y[:, :, None] * x[:, None, :])[:, None]
