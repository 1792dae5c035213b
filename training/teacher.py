"""Estimates the unknown flow of real frames by a classical method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from rmnet.geometry import backward_warp
from training.strict_json import TrainingConfigError

ENLARGED = 2  # factor on the frames, which are small for the 8 px patches of DIS
AGREEMENT = 1.0  # px between forward and backward flow, plus 5 % of the flow

Teacher = Callable[[Tensor, Tensor], Tensor]


def dis_teacher() -> Teacher:
    """Make a teacher of OpenCV's dense inverse search, trusted where both directions agree.

    Returns:
        A function of two frames (3, h, w) uint8 that returns the flow (2, h, w) px from the first
        to the second, NaN where it is unreliable: mostly at occlusions.

    Raises:
        TrainingConfigError: OpenCV is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise TrainingConfigError(
            "real pairs need OpenCV, which is not installed; accepted: "
            "pip install 'rmnet[benchmarks]', or --real 0"
        ) from error
    cv2.setNumThreads(1)  # results depend on the number of threads
    search: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def grey(frame: Tensor) -> NDArray[Any]:
        image = frame.permute(1, 2, 0).contiguous().numpy()
        size = (image.shape[1] * ENLARGED, image.shape[0] * ENLARGED)
        enlarged = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
        return cv2.cvtColor(enlarged, cv2.COLOR_RGB2GRAY)

    def shrunk(flow: NDArray[Any]) -> Tensor:
        planes = torch.from_numpy(flow).permute(2, 0, 1)[None]
        return F.avg_pool2d(planes, ENLARGED)[0] / ENLARGED

    def teach(current: Tensor, previous: Tensor) -> Tensor:
        images = grey(current), grey(previous)
        there = shrunk(search.calc(images[0], images[1], None))
        back = shrunk(search.calc(images[1], images[0], None))
        return believed(there, back)

    return teach


def believed(there: Tensor, back: Tensor) -> Tensor:
    """Put NaN where a flow (2, h, w) and the backward one disagree, or leave the frame."""
    ones = torch.ones_like(back[:1])
    met = backward_warp(torch.cat([back, ones])[None], there[None])[0]
    missed = (there + met[:2]).norm(dim=0)
    agree = (missed <= AGREEMENT + 0.05 * there.norm(dim=0)) & (met[2] > 0)
    return torch.where(agree, there, torch.nan)
