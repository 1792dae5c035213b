"""What a tracker has to beat: masks that stand still, or that a flow carries from frame to frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from rmnet.geometry import backward_warp, network_size, normalise, resize
from rmnet.network.flow import TinyFlowNet

Frame = NDArray[np.uint8]  # (H, W, 3) RGB
Labels = NDArray[np.integer]  # (H, W)
# (current, previous) frame to (2, H, W) px float32, from current to previous, x first.
FlowFunction = Callable[[Frame, Frame], NDArray[np.float32]]


def repeated(frames: Sequence[Frame], first: Labels) -> list[Labels]:
    """The first mask in every frame."""
    return [first] * len(frames)


def carried(frames: Sequence[Frame], first: Labels, flow: FlowFunction) -> list[Labels]:
    """The first mask carried from frame to frame; what comes from outside is background."""
    results = [first]
    for previous, current in pairwise(frames):
        results.append(carry(results[-1], flow(current, previous)))
    return results


def carry(labels: Labels, flow: NDArray[np.float32]) -> Labels:
    """Labels of the previous frame moved by a flow; a pixel goes to whom more than half of it is."""
    ids = [int(i) for i in np.unique(labels) if i not in (0, 255)]
    moved = np.zeros_like(labels)
    if ids:
        masks = torch.from_numpy(np.stack([labels == i for i in ids])).float()
        shares = backward_warp(masks[None], torch.from_numpy(flow)[None])[0].numpy()
        for object_id, share in zip(ids, shares, strict=True):
            moved[share > 0.5] = object_id
    return moved


def zero_flow(current: Frame, previous: Frame) -> NDArray[np.float32]:
    """Nothing moves."""
    return np.zeros((2, *current.shape[:2]), np.float32)


def dis_flow() -> FlowFunction:
    """OpenCV's dense inverse search, at its medium preset."""
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def flow(current: Frame, previous: Frame) -> NDArray[np.float32]:
        grey = [cv2.cvtColor(x, cv2.COLOR_RGB2GRAY) for x in (current, previous)]
        return np.ascontiguousarray(search.calc(*grey, None).transpose(2, 0, 1))

    return flow


def network_flow(network: TinyFlowNet, size: int) -> FlowFunction:
    """TinyFlowNet at a shorter side of `size` px, its flow enlarged to the frames'."""

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
