"""From masks to boxes to regions: where each object is remembered and searched for.

Boxes are (x0, y0, x1, y1), half-open, int32; an empty box is all zeros. No function waits for the
device.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rmnet.config import STRIDE, LostRegion


def mask_boxes(
    masks: Tensor,
    *,
    threshold: float,
    min_pixels: int,
    margin: int | Tensor,  # px on each side, one number or (n,)
    lost: LostRegion,
) -> Tensor:
    """Return the boxes (n, 4), int32 px, around soft masks (n, H, W), clipped to the frame.

    A pixel of at least `threshold` belongs to its object; an object of fewer than `min_pixels` is
    lost, and its box is the whole "frame" or "empty".

    Source: the paper, eq. 2; the margin in pixels and the pixel count as in the released code.
    """
    inside = masks >= threshold
    height, width = masks.shape[-2:]
    x0, x1 = _extent(inside.any(dim=1), margin)
    y0, y1 = _extent(inside.any(dim=2), margin)
    is_lost = inside.sum(dim=(1, 2)) < min_pixels
    right, bottom = (width, height) if lost == "frame" else (0, 0)
    # Python numbers: a tensor of them would have to be copied to the device, which waits.
    sides = ((x0, 0), (y0, 0), (x1, right), (y1, bottom))
    boxes = torch.stack([side.masked_fill(is_lost, number) for side, number in sides], dim=1)
    return boxes.to(torch.int32)


def _extent(hit: Tensor, margin: int | Tensor) -> tuple[Tensor, Tensor]:
    """Return the first and one-past-last true position of each row (n, L), widened by the margin."""
    length = hit.shape[1]
    hit = hit.to(torch.uint8)  # argmax takes no bool, and returns the first of equal maxima
    first = hit.argmax(dim=1)
    end = length - hit.flip(1).argmax(dim=1)
    return (first - margin).clamp(min=0), (end + margin).clamp(max=length)


def frame_boxes(masks: Tensor) -> Tensor:
    """Return the box of the whole frame for each mask (n, H, W): (n, 4) int32 px."""
    height, width = masks.shape[-2:]
    whole = torch.tensor((0, 0, width, height), dtype=torch.int32, device=masks.device)
    return whole.expand(len(masks), 4)


def union_boxes(a: Tensor, b: Tensor) -> Tensor:
    """Return the smallest boxes (..., 4) that contain both; an empty box adds nothing."""
    both = torch.cat((torch.minimum(a, b)[..., :2], torch.maximum(a, b)[..., 2:]), dim=-1)
    return torch.where(_is_empty(a), b, torch.where(_is_empty(b), a, both))


def _is_empty(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] <= boxes[..., :2]).any(dim=-1, keepdim=True)


def shift_boxes(boxes: Tensor, dx: int, dy: int) -> Tensor:
    """Move boxes (..., 4) by (dx, dy); empty ones stay empty."""
    offset = torch.tensor((dx, dy, dx, dy), dtype=boxes.dtype, device=boxes.device)
    return torch.where(_is_empty(boxes), boxes, boxes + offset)


def pixel_to_cell_boxes(boxes: Tensor) -> Tensor:
    """Return, as boxes (..., 4), the cells whose top-left pixel lies in a pixel box.

    Cell i starts at pixel 16 i, so pixels [a, b) hold cells [ceil(a / 16), ceil(b / 16)).
    """
    cells = torch.div(boxes + (STRIDE - 1), STRIDE, rounding_mode="floor")
    return torch.where(_is_empty(cells), torch.zeros_like(cells), cells).to(torch.int32)


def cells_in_boxes(boxes: Tensor, height: int, width: int) -> Tensor:
    """Return a map (..., height, width) of each box (..., 4) of cells, true inside."""
    x = torch.arange(width, device=boxes.device)
    y = torch.arange(height, device=boxes.device)
    x0, y0, x1, y1 = boxes.unsqueeze(-1).unbind(dim=-2)
    columns = (x >= x0) & (x < x1)
    rows = (y >= y0) & (y < y1)
    return rows.unsqueeze(-1) & columns.unsqueeze(-2)
