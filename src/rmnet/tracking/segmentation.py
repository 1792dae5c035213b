"""From probabilities to a result: labels in the user's ids, and what can be said of each object."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from rmnet.config import RMNetConfig
from rmnet.geometry import mask_boxes
from rmnet.results import FrameSegmentation, Status
from rmnet.tracking.estimate import Estimate

Box = tuple[int, int, int, int]


def segment(
    estimate: Estimate,
    *,
    index: int,
    size: tuple[int, int],
    regions: dict[int, Box],
    config: RMNetConfig,
    keep_probabilities: bool,
    seconds: float | None,
) -> FrameSegmentation:
    """Turn what is known of a frame into what the user sees of it.

    Args:
        estimate: Of N objects.
        index: Number of the frame.
        size: (H, W) px of the video.
        regions: Where objects were looked for, in px of the network's size; not every object was.
        config: For what counts as lost.
        keep_probabilities: Whether the result carries them.
        seconds: Time of the frame, if known.
    """
    ids = estimate.object_ids
    small = estimate.at_network_size
    small_size = (small.shape[1], small.shape[2])
    probabilities = small if size == small_size else estimate.probabilities(size)
    best, channel = probabilities.max(dim=0)
    numbers = torch.arange(1, len(ids) + 1, device=channel.device).view(-1, 1, 1)
    inside = channel == numbers
    scores = (best * inside).sum(dim=(1, 2)) / inside.sum(dim=(1, 2)).clamp(min=1)
    sure = (small[1:] >= config.mask_threshold).sum(dim=(1, 2)) >= config.min_object_pixels
    status: tuple[Status, ...] = tuple("tracked" if found else "lost" for found in sure.tolist())
    boxes = mask_boxes(inside, threshold=1, min_pixels=1, margin=0, lost="empty")
    return FrameSegmentation(
        index=index,
        labels=np.array((0, *ids), dtype=np.int32)[channel.cpu().numpy()],
        object_ids=ids,
        scores=scores.cpu().numpy(),
        status=status,
        boxes=boxes.cpu().numpy(),
        regions=np.array(
            [_enlarge(regions[i], small_size, size) if i in regions else (0, 0, 0, 0) for i in ids],
            dtype=np.int32,
        ).reshape(-1, 4),
        probabilities=_for_the_caller(probabilities) if keep_probabilities else None,
        seconds=seconds,
    )


def _for_the_caller(probabilities: Tensor) -> Tensor:
    """A plain tensor on the CPU: one made in inference mode takes neither writes nor gradients."""
    with torch.inference_mode(mode=False):
        return probabilities.cpu().clone()


def _enlarge(box: Box, small: tuple[int, int], size: tuple[int, int]) -> Box:
    """A box in px of the network's size as the least one in px of the video that holds it."""
    x0, y0, x1, y1 = box
    scale_y, scale_x = size[0] / small[0], size[1] / small[1]
    return (
        math.floor(x0 * scale_x),
        math.floor(y0 * scale_y),
        min(size[1], math.ceil(x1 * scale_x)),
        min(size[0], math.ceil(y1 * scale_y)),
    )


def blank(
    size: tuple[int, int],
    *,
    index: int,
    seconds: float | None,
    keep_probabilities: bool,
    object_ids: tuple[int, ...] = (),
    skipped: str | None = None,
) -> FrameSegmentation:
    """The result of a frame of (H, W) px in which nobody looked: background.

    So are frames before any object was given, and those that could not be read (`skipped`).
    """
    n = len(object_ids)
    probabilities = None
    if keep_probabilities:
        probabilities = torch.zeros((n + 1, *size), dtype=torch.float32, device="cpu")
        probabilities[0] = 1
    return FrameSegmentation(
        index=index,
        labels=np.zeros(size, dtype=np.int32),
        object_ids=object_ids,
        scores=np.zeros(n, dtype=np.float32),
        status=("skipped",) * n,
        boxes=np.zeros((n, 4), dtype=np.int32),
        regions=np.zeros((n, 4), dtype=np.int32),
        probabilities=probabilities,
        seconds=seconds,
        skipped=skipped,
    )
