"""Floors for trackers: masks that stay, or that a flow carries from frame to frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from rmnet.geometry import backward_warp, network_size, normalise, resize
from rmnet.network import TinyFlowNet

Frame = NDArray[np.uint8]  # (H, W, 3) RGB
Labels = NDArray[np.integer[Any]]  # (H, W)
# Maps the (current, previous) frames to the flow (2, H, W) px from current to previous, x first.
FlowFunction = Callable[[Frame, Frame], NDArray[np.float32]]


def repeated(frames: Sequence[Frame], first: Labels) -> list[Labels]:
    """Return the first mask for every frame."""
    return [first] * len(frames)


def carried(frames: Sequence[Frame], first: Labels, flow: FlowFunction) -> list[Labels]:
    """Carry the first mask from frame to frame; what enters the frame is background."""
    results = [first]
    for previous, current in pairwise(frames):
        results.append(carry(results[-1], flow(current, previous)))
    return results


def carry(labels: Labels, flow: NDArray[np.float32]) -> Labels:
    """Move the labels of the previous frame by a flow; objects need over half of a pixel."""
    ids = [int(i) for i in np.unique(labels) if i not in (0, 255)]
    moved = np.zeros_like(labels)
    if ids:
        masks = torch.from_numpy(np.stack([labels == i for i in ids])).float()
        shares = backward_warp(masks[None], torch.from_numpy(flow)[None])[0].numpy()
        for object_id, share in zip(ids, shares, strict=True):
            moved[share > 0.5] = object_id
    return moved


def zero_flow(current: Frame, previous: Frame) -> NDArray[np.float32]:
    """Return the flow of a still scene."""
    return np.zeros((2, *current.shape[:2]), np.float32)


def dis_flow() -> FlowFunction:
    """Make a flow function of OpenCV's dense inverse search, at its medium preset."""
    search: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def flow(current: Frame, previous: Frame) -> NDArray[np.float32]:
        grey = [cv2.cvtColor(x, cv2.COLOR_RGB2GRAY) for x in (current, previous)]
        return np.ascontiguousarray(search.calc(*grey, None).transpose(2, 0, 1))

    return flow


def network_flow(network: TinyFlowNet, size: int) -> FlowFunction:
    """Make a flow function of TinyFlowNet on frames resized to a shorter side of `size` px."""

    @torch.inference_mode()
    def flow(current: Frame, previous: Frame) -> NDArray[np.float32]:
        pair = torch.from_numpy(np.stack([current, previous])).permute(0, 3, 1, 2)
        height, width = pair.shape[2:]
        inner = network_size(height, width, size)
        images = normalise(resize(pair.float(), inner))
        found = resize(network(images[:1], images[1:]), (height, width))[0]
        scale = torch.tensor([width / inner[1], height / inner[0]]).view(2, 1, 1)
        return (found * scale).numpy()

    return flow
