"""Warping planes along optical flow."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

# A sample is kept only if all four of its pixels lie inside the frame. Source: released code.
MIN_VALIDITY = 0.9999


def backward_warp(planes: Tensor, flow: Tensor) -> Tensor:
    """Sample planes (B, C, H, W) of frame t-1 at p + flow(p), bilinearly; 0 outside the frame.

    The flow (B, 2, H, W), (x, y) px, points from frame t to frame t-1.
    """
    height, width = planes.shape[-2:]
    y = torch.arange(height, device=flow.device, dtype=flow.dtype).view(-1, 1)
    x = torch.arange(width, device=flow.device, dtype=flow.dtype)
    # With align_corners, grid_sample maps pixel centres to [-1, 1]; one pixel has no extent.
    grid_x = (x + flow[:, 0]) * (2 / max(width - 1, 1)) - 1
    grid_y = (y + flow[:, 1]) * (2 / max(height - 1, 1)) - 1
    grid = torch.stack((grid_x, grid_y), dim=-1)
    ones = planes.new_ones((planes.shape[0], 1, height, width))
    planes = torch.cat((planes, ones), dim=1)
    moved = F.grid_sample(planes, grid, padding_mode="zeros", align_corners=True)
    return moved[:, :-1] * (moved[:, -1:] >= MIN_VALIDITY)
