"""Moving planes along optical flow."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

# A sample counts only if all of it comes from inside the frame. Source: released code.
MIN_VALIDITY = 0.9999


def backward_warp(planes: Tensor, flow: Tensor) -> Tensor:
    """Fetch every pixel from where the flow says it was.

    Args:
        planes: (B, C, H, W) float, of frame t-1.
        flow: (B, 2, H, W) px, (x, y), from frame t to frame t-1.

    Returns:
        (B, C, H, W): planes at p + flow(p), bilinear; 0 where that reaches outside the frame.
    """
    height, width = planes.shape[-2:]
    y = torch.arange(height, device=flow.device, dtype=flow.dtype).view(-1, 1)
    x = torch.arange(width, device=flow.device, dtype=flow.dtype)
    # grid_sample with align_corners counts pixel centres from -1 to 1; one pixel has no extent.
    grid_x = (x + flow[:, 0]) * (2 / max(width - 1, 1)) - 1
    grid_y = (y + flow[:, 1]) * (2 / max(height - 1, 1)) - 1
    grid = torch.stack((grid_x, grid_y), dim=-1)
    ones = planes.new_ones((planes.shape[0], 1, height, width))
    moved = F.grid_sample(
        torch.cat((planes, ones), dim=1),
        grid,
        mode="bilinear",
        padding_mode="zeros",
        align_corners=True,
    )
    return moved[:, :-1] * (moved[:, -1:] >= MIN_VALIDITY)
