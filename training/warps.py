"""Applies tracks to all pixels of all frames of many layers at once, on any device.

Points are (L, 2, ..., H, W) float32, x first, in pixels, pixel centres on the integers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from training.motion import WAVES

NUMBERS = 4 + 2 + 5 * WAVES  # length of `motion.Warp.row`


def pixel_points(height: int, width: int, device: torch.device) -> Tensor:
    """Return the points of all pixels of a frame, (2, H, W)."""
    y, x = torch.meshgrid(
        torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij"
    )
    return torch.stack([x, y]).float()


def apply_warps(rows: Tensor, points: Tensor) -> Tensor:
    """Map points (L, 2, t, H, W) by L warps, (L, NUMBERS)."""
    numbers = [number.view(-1, 1, 1, 1) for number in rows.unbind(1)]
    a, b, c, d, shift_x, shift_y = numbers[:6]
    amplitudes, frequencies, phases = (
        numbers[6 : 6 + 2 * WAVES],
        numbers[6 + 2 * WAVES : 6 + 4 * WAVES],
        numbers[6 + 4 * WAVES :],
    )
    x, y = points.unbind(1)
    out_x = (a * x).addcmul_(b, y).add_(shift_x)
    out_y = (c * x).addcmul_(d, y).add_(shift_y)
    for wave in range(WAVES):
        fx, fy = frequencies[2 * wave], frequencies[2 * wave + 1]
        height = (fx * x).addcmul_(fy, y).add_(phases[wave]).sin_()
        out_x.addcmul_(amplitudes[2 * wave], height)
        out_y.addcmul_(amplitudes[2 * wave + 1], height)
    return torch.stack([out_x, out_y], 1)


def track_points(tracks: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Follow L tracks.

    Args:
        tracks: (T, L, NUMBERS): the place, then the T-1 steps.
        height: px.
        width: px.

    Returns:
        Picture points (L, 2, T, H, W), and flows (L, 2, T-1, H, W) to frame t-1.
    """
    place, steps = tracks[0], tracks[1:]
    own = pixel_points(height, width, tracks.device).expand(len(place), -1, -1, -1).unsqueeze(2)
    points = own[:, :, :0]
    flows = []
    for step in steps.flip(0):
        # Later frames have been carried back to here, and go one step further with this one.
        points = apply_warps(step, torch.cat([own, points], 2))
        flows.append(points[:, :, :1] - own)
    points = apply_warps(place, torch.cat([own, points], 2))
    return points, torch.cat(flows[::-1], 2) if flows else own[:, :, :0]


def mirrored(points: Tensor, sizes: Tensor) -> Tensor:
    """Fold points (L, 2, ...) into mirrored pictures of `sizes` (L, 2), width first."""
    last = (sizes.float() - 1).clamp(min=1).view(*sizes.shape, *[1] * (points.dim() - 2))
    folded = points.abs() % (2 * last)
    return torch.where(folded > last, 2 * last - folded, folded)


def look_up(canvases: Tensor, points: Tensor) -> Tensor:
    """Sample pictures bilinearly, with zeros beyond them.

    Args:
        canvases: (L, C, h, w) float.
        points: (L, 2, t, H, W), px.

    Returns:
        (L, C, t, H, W).
    """
    frames, height, width = points.shape[2:]
    x, y = points.flatten(2).unbind(1)
    ends = (max(1, canvases.shape[3] - 1), max(1, canvases.shape[2] - 1))
    grid = torch.stack([x * (2 / ends[0]) - 1, y * (2 / ends[1]) - 1], -1)
    grid = grid.view(len(points), frames * height, width, 2)
    found = torch.nn.functional.grid_sample(
        canvases, grid, mode="bilinear", padding_mode="zeros", align_corners=True
    )
    return found.unflatten(2, (frames, height))
