"""What a user gives for an object in a frame, in SAM 2's forms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from rmnet.errors import MaskError, shown
from rmnet.io import parse_mask
from rmnet.prompting import Box, Point


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """A box, clicks or a mask, and the mask that they became: a value, equal only to itself.

    Attributes:
        mask: (H, W) bool.
        box: Box in pixels; None without one.
        points: All clicks so far.
    """

    mask: NDArray[np.bool_]
    box: Box | None = None
    points: tuple[Point, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether the object has no pixels in the frame."""
        return not self.mask.any()


# Frame -> id of the object -> prompt; of a frame's prompts, the latest comes last.
PromptsByFrame: TypeAlias = Mapping[int, Mapping[int, Prompt]]


def as_object_mask(mask: object, size: tuple[int, int], number: int) -> NDArray[np.bool_]:
    """Turn a mask of 0 and another number into (H, W) bool of the video's size."""
    if isinstance(mask, torch.Tensor):
        mask = mask.detach().cpu().numpy()
    array = np.asarray(mask)
    if array.dtype.kind not in "biuf":
        raise MaskError(f"mask is {shown(mask)}; accepted: (H, W), bool or numbers")
    if array.ndim != 2:
        raise MaskError(
            f"mask has the shape {array.shape}; accepted: (H, W). Write mask[0], if the object is "
            "the first layer"
        )
    if array.dtype.kind != "b":
        values = np.unique(array)
        if len(values) > 2 or (values < 0).any() or (len(values) == 2 and values[0] != 0):
            raise MaskError(
                f"mask is {array.dtype} with {len(values)} values from {values[0]:g} to "
                f"{values[-1]:g}; accepted: bool, or 0 beside the object and one other number on "
                "it. Write mask > 0, if it holds logits, or labels == 1 for an object of a label "
                "map"
            )
        array = array > 0
    return parse_mask({number: array}, size=size, allow_empty=True).masks[0].numpy()


def visible_masks(
    prompts: Mapping[int, Prompt], known: tuple[int, ...]
) -> dict[int, NDArray[np.bool_]]:
    """Return a frame's masks without overlap, the latest on top.

    Objects that are not `known` yet and have no visible pixel are left out.
    """
    found: dict[int, NDArray[np.bool_]] = {}
    for number, prompt in reversed(list(prompts.items())):
        above = np.logical_or.reduce(list(found.values())) if found else ~prompt.mask
        mask = prompt.mask & ~above
        if number in known or mask.any():
            found[number] = mask
    return found
