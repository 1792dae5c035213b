"""The flow of real frames, which nobody knows, as a classical method finds it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from rmnet.geometry import backward_warp
from strict_json import TrainingConfigError

ENLARGED = 2  # DIS looks at patches of 8 px; the frames it is asked about are small
AGREEMENT = 1.0  # px that going there and back may miss by, and 5 % of the way

Teacher = Callable[[Tensor, Tensor], Tensor]


def dis_teacher() -> Teacher:
    """OpenCV's dense inverse search, believed where forth and back agree.

    Returns:
        A function of two frames (3, h, w) uint8 to the flow (2, h, w) px from the first to the
        second, NaN where it is not to be believed: occlusions, mostly.
    """
    try:
        import cv2  # noqa: PLC0415 optional
    except ImportError as error:
        raise TrainingConfigError(
            "real pairs are asked for, and OpenCV, which finds their flow, is not here; accepted: "
            "pip install opencv-python-headless, or --real 0"
        ) from error
    cv2.setNumThreads(1)  # it searches stripes, one a thread: with others, other numbers
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def grey(frame: Tensor) -> object:
        image = frame.permute(1, 2, 0).contiguous().numpy()
        size = (image.shape[1] * ENLARGED, image.shape[0] * ENLARGED)
        enlarged = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
        return cv2.cvtColor(enlarged, cv2.COLOR_RGB2GRAY)

    def shrunk(flow: object) -> Tensor:
        planes = torch.from_numpy(flow).permute(2, 0, 1)[None]  # pyright: ignore[reportArgumentType]
        return F.avg_pool2d(planes, ENLARGED)[0] / ENLARGED

    def teach(current: Tensor, previous: Tensor) -> Tensor:
        images = grey(current), grey(previous)
        there = shrunk(search.calc(images[0], images[1], None))
        back = shrunk(search.calc(images[1], images[0], None))
        return believed(there, back)

    return teach


def believed(there: Tensor, back: Tensor) -> Tensor:
    """Put NaN where a flow (2, h, w) and the one back do not cancel, or it leaves the frame."""
    ones = torch.ones_like(back[:1])
    met = backward_warp(torch.cat([back, ones])[None], there[None])[0]
    missed = (there + met[:2]).norm(dim=0)
    agree = (missed <= AGREEMENT + 0.05 * there.norm(dim=0)) & (met[2] > 0)
    return torch.where(agree, there, torch.nan)
