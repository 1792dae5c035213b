"""From probabilities to a result: labels in the user's ids, and the facts about each object."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rmnet.config import RMNetConfig
from rmnet.geometry import mask_boxes
from rmnet.options import TrackingOptions
from rmnet.results import FrameSegmentation, Status
from rmnet.tracking.last_frame import Box, LastFrame


def segment(frame: LastFrame, config: RMNetConfig, options: TrackingOptions) -> FrameSegmentation:
    """Turn what is known of a frame into the result that the user sees."""
    ids, size, small_size = frame.estimate.object_ids, frame.video_size, frame.network_size
    small = frame.estimate.at_network_size
    probabilities = small if size == small_size else frame.estimate.probabilities(size)
    labels, scores, boxes = label_pixels(probabilities, ids)
    found = (small[1:] >= config.mask_threshold).sum(dim=(1, 2)) >= config.min_object_pixels
    status: tuple[Status, ...] = tuple("tracked" if one else "lost" for one in found.tolist())
    regions = [
        _enlarge(frame.regions[i], small_size, size) if i in frame.regions else (0, 0, 0, 0)
        for i in ids
    ]
    return FrameSegmentation(
        index=frame.index,
        labels=labels,
        object_ids=ids,
        scores=scores,
        status=status,
        boxes=boxes,
        regions=np.array(regions, dtype=np.int32).reshape(-1, 4),
        probabilities=_for_the_caller(probabilities) if options.keep_probabilities else None,
        seconds=frame.seconds,
    )


def label_pixels(
    probabilities: Tensor, ids: tuple[int, ...]
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int32]]:
    """Give each pixel to what is most probable there.

    Args:
        probabilities: (N+1, H, W) float32, background first.
        ids: The user's ids of the N objects.

    Returns:
        `labels`, `scores` and `boxes` of a `FrameSegmentation`.
    """
    best, channel = probabilities.max(dim=0)
    numbers = torch.arange(1, len(ids) + 1, device=channel.device).view(-1, 1, 1)
    inside = channel == numbers
    scores = (best * inside).sum(dim=(1, 2)) / inside.sum(dim=(1, 2)).clamp(min=1)
    boxes = mask_boxes(inside, threshold=1, min_pixels=1, margin=0, lost="empty")
    labels = np.array((0, *ids), dtype=np.int32)[channel.cpu().numpy()]
    return labels, scores.cpu().numpy(), boxes.cpu().numpy()


def blank(
    size: tuple[int, int],
    *,
    index: int,
    seconds: float | None,
    keep_probabilities: bool,
    object_ids: tuple[int, ...] = (),
    skipped: str | None = None,
) -> FrameSegmentation:
    """Return an all-background result for a frame of (H, W) pixels that was not segmented.

    Such a frame comes before any object was given, or could not be read (`skipped` says why).
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


def _for_the_caller(probabilities: Tensor) -> Tensor:
    """Return an ordinary copy on the CPU: inference tensors refuse writes and gradients."""
    with torch.inference_mode(mode=False):
        return probabilities.cpu().clone()


def _enlarge(box: Box, small: tuple[int, int], size: tuple[int, int]) -> Box:
    """Scale a box from the network's size to the smallest box that holds it in the video."""
    x0, y0, x1, y1 = box
    scale_y, scale_x = size[0] / small[0], size[1] / small[1]
    return (
        math.floor(x0 * scale_x),
        math.floor(y0 * scale_y),
        min(size[1], math.ceil(x1 * scale_x)),
        min(size[0], math.ceil(y1 * scale_y)),
    )
