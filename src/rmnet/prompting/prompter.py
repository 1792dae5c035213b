"""Prompters: from a frame and prompts to the masks of objects."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load
from torch import Tensor
from torch.nn import functional as F

from rmnet.network import PromptNetwork
from rmnet.prompting.prompts import Box, Point
from rmnet.prompting.trunk import Trunk
from rmnet.prompting.views import View, box_planes, click_planes

_ZOOM = 1.4  # of a view, times the longer side of what is looked at
_ZOOMS = (1.25, 1.4)  # of the two views that are averaged
_PACKAGED = "pretrained/rmnet-prompt/model.safetensors"
_NEAR = 8  # px between a click and what it means
_STEPS = 16
_LONGEST = 512  # px, of the grid on which connected parts are found
_OUTSIDE = -20.0  # logit of pixels that no view holds


class Prompter(Protocol):
    """Turns boxes and clicks in a frame into masks. Any function of this form will do."""

    def __call__(
        self,
        frame: NDArray[np.uint8],
        boxes: Mapping[int, Box],
        points: Mapping[int, Sequence[Point]],
        masks: Mapping[int, NDArray[np.bool_]],
    ) -> Mapping[int, NDArray[np.bool_]]:
        """Return a mask for every object that has a box or clicks.

        Args:
            frame: RGB uint8 (H, W, 3).
            boxes: Object id -> (x0, y0, x1, y1) px, half-open, inside the frame.
            points: Object id -> clicks (x, y, inside), px; `inside` is False beside the object.
            masks: Object id -> (H, W), what is known so far of objects that are to be corrected.

        Returns:
            Object id -> (H, W) bool. Masks may overlap.
        """
        ...


class NetworkPrompter:
    """The packaged prompter. It loads its weights when it is called for the first time.

    Args:
        device: Device to run on.
        weights: A .safetensors file of training.train_prompt; None for the packaged weights.
    """

    def __init__(self, device: torch.device | str = "cpu", *, weights: Path | None = None) -> None:
        self.device = torch.device(device)
        self._weights = weights
        self._loaded: tuple[Trunk, PromptNetwork] | None = None

    @torch.inference_mode()
    def __call__(
        self,
        frame: NDArray[np.uint8],
        boxes: Mapping[int, Box],
        points: Mapping[int, Sequence[Point]],
        masks: Mapping[int, NDArray[np.bool_]],
    ) -> dict[int, NDArray[np.bool_]]:
        """See `Prompter.__call__`."""
        pixels = torch.from_numpy(np.array(frame)).to(self.device).permute(2, 0, 1).float()
        with torch.autocast(self.device.type, enabled=False):
            logits = {
                i: self._logits(pixels, boxes.get(i), points.get(i, ()), masks.get(i))
                for i in sorted({*boxes, *points})
            }
        return {i: (found[0] > 0).cpu().numpy() for i, found in logits.items()}

    def _logits(
        self,
        pixels: Tensor,
        box: Box | None,
        points: Sequence[Point],
        mask: NDArray[np.bool_] | None,
    ) -> Tensor:
        """Return the logits (1, H, W) of one object: of a first look, then of a closer one."""
        height, width = pixels.shape[1:]
        present = torch.zeros((1, height, width), device=pixels.device)
        if mask is not None:
            present[0] = torch.from_numpy(np.array(mask)).to(pixels.device)
            region = box or _extent(present[0] > 0.5, points)
        else:
            region = box
        if region is not None:
            views = [View.around(region, zoom) for zoom in _ZOOMS]
            looks = [self._look(pixels, views[0], box, points, present)]
            looks.append(self._mirrored_look(pixels, views[1], box, points, present))
            return (looks[0] + looks[1]) / 2
        # Clicks alone may mean anything: look at the whole frame, then at what was found there.
        clicks = [(x, y) for x, y, inside in points if inside]
        whole = View.around((0, 0, width, height), 1.0)
        logits = connected(self._look(pixels, whole, box, points, present), clicks)
        found = _extent(logits[0] > 0, points)
        if found is None:
            return logits
        closer = View.around(found, _ZOOM)
        return connected(self._look(pixels, closer, box, points, logits.sigmoid()), clicks)

    def _look(
        self,
        pixels: Tensor,
        view: View,
        box: Box | None,
        points: Sequence[Point],
        present: Tensor,
    ) -> Tensor:
        """Return logits (1, H, W), from one view of the frame."""
        trunk, network = self._networks()
        masks = view.cut(present)
        inside = torch.zeros_like(masks)
        if box is not None:
            inside = box_planes(view.to_view(inside.new_tensor([box])))
        clicks = {True: torch.zeros_like(masks), False: torch.zeros_like(masks)}
        for x, y, is_on in points:
            blob = click_planes(view.to_view(masks.new_tensor([[x, y]])))
            clicks[is_on] = torch.maximum(clicks[is_on], blob)
        prompts = torch.cat((inside, clicks[True], clicks[False], masks), dim=1)
        logits = network(*trunk(view.cut(pixels)), prompts)
        return view.paste(logits, (pixels.shape[1], pixels.shape[2]), _OUTSIDE)

    def _mirrored_look(
        self,
        pixels: Tensor,
        view: View,
        box: Box | None,
        points: Sequence[Point],
        present: Tensor,
    ) -> Tensor:
        """Look at the frame in a mirror; the average with a plain look is better than either."""
        width = pixels.shape[2]
        mirrored = View(width - view.left - view.side, view.top, view.side)
        if box is not None:
            box = (width - box[2], box[1], width - box[0], box[3])
        points = [(width - 1 - x, y, inside) for x, y, inside in points]
        return self._look(pixels.flip(2), mirrored, box, points, present.flip(2)).flip(2)

    def _networks(self) -> tuple[Trunk, PromptNetwork]:
        if self._loaded is None:
            trunk = Trunk.packaged(self.device)
            network = PromptNetwork(trunk.widths)
            file = self._weights or resources.files("rmnet") / _PACKAGED
            network.load_state_dict(load(file.read_bytes()))
            network = network.to(self.device).to(memory_format=torch.channels_last)
            self._loaded = trunk, network.eval().requires_grad_(False)
        return self._loaded


def load_prompter(device: torch.device | str = "cpu") -> Prompter:
    """Return the packaged prompter, a small network on the trunk of rmnet-small."""
    return NetworkPrompter(device)


def connected(logits: Tensor, points: Sequence[tuple[float, float]]) -> Tensor:
    """Return logits (1, H, W) that are negative but in the parts of the mask that hold a point.

    A point that is in no part takes those around it.
    """
    mask = logits > 0
    reached = torch.zeros_like(logits)
    for x, y in points:
        radius = 0 if mask[0, int(y), int(x)] else _NEAR
        top, left = max(int(y) - radius, 0), max(int(x) - radius, 0)
        reached[0, top : int(y) + radius + 1, left : int(x) + radius + 1] = 1
    # Large frames are searched on a coarser grid, which joins parts a pixel or two apart.
    stride = math.ceil(max(mask.shape) / _LONGEST)
    inside = F.max_pool2d(mask.float(), stride, ceil_mode=True)
    reached = F.max_pool2d(reached * mask, stride, ceil_mode=True)
    # Grown step by step inside the mask until nothing is added.
    count = 0.0
    while (total := reached.sum().item()) > count:
        count = total
        for _ in range(_STEPS):
            reached = F.max_pool2d(reached, 3, stride=1, padding=1) * inside
    reached = F.interpolate(reached[None], scale_factor=stride)[
        0, :, : mask.shape[1], : mask.shape[2]
    ]
    return torch.where(reached > 0, logits, logits.clamp(max=-1.0))


def _extent(mask: Tensor, points: Sequence[Point]) -> Box | None:
    """Return the box around a mask (H, W) and points; None if there is nothing."""
    x = mask.any(dim=0).nonzero()[:, 0].tolist() + [point[0] for point in points]
    y = mask.any(dim=1).nonzero()[:, 0].tolist() + [point[1] for point in points]
    return (min(x), min(y), max(x) + 1, max(y) + 1) if x else None
