"""Objects from bool layers, one for each, which may overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from rmnet.errors import MaskError, shown

# What becomes of pixels in several layers: refused, the first layer's, or the last layer's.
Overlap = Literal["error", "first", "last"]


@dataclass(frozen=True, slots=True, eq=False)
class ObjectMasks:
    """The objects of one frame, checked; made by `parse_mask`.

    Attributes:
        object_ids: N ids, ascending, each at least 1.
        masks: (N, H, W) bool on the CPU, disjoint, in the order of `object_ids`.
        void: (H, W) bool on the CPU; pixels about which the mask says nothing, no object's.
        is_binary: Whether the mask named no object, so that its object is called 1.
    """

    object_ids: tuple[int, ...]
    masks: torch.Tensor
    void: torch.Tensor
    is_binary: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.masks.shape[1], self.masks.shape[2]


def check_overlap(overlap: object) -> None:
    """Raise a MaskError unless the value is one of `Overlap`."""
    if overlap not in get_args(Overlap):
        raise MaskError(
            f'overlap is {shown(overlap)}; accepted: "error", "first" or "last". Write '
            'overlap="first", if the first of two layers is in front'
        )


def from_layers(
    ids: tuple[int, ...],
    layers: Sequence[NDArray[Any]],
    *,
    allow_empty: bool,
    overlap: Overlap = "error",
) -> ObjectMasks:
    """Make objects from bool layers (H, W), one for each id."""
    if len(ids) != len(layers):
        raise MaskError(
            f"{len(layers)} layers came with {len(ids)} object_ids; accepted: as many ids as "
            f"layers. Write object_ids=range(1, {len(layers) + 1}), if any ids will do"
        )
    size = layers[0].shape
    for object_id, layer in zip(ids, layers, strict=True):
        if layer.shape != size:
            raise MaskError(
                f"the mask of object {object_id} is {layer.shape[0]} px high and {layer.shape[1]} "
                f"px wide, that of object {ids[0]} {size[0]} by {size[1]}; accepted: one size. "
                f"Write Image.fromarray(np.asarray(mask, np.int32)).resize(({size[1]}, {size[0]}), "
                f"Image.NEAREST) for that of object {object_id}"
            )
    # Compared as bytes: Pillow decodes mode 1 to trues of 255, which torch would count as 255.
    masks = np.stack([layer.view(np.uint8) != 0 for layer in layers])
    taken = np.zeros(size, np.bool_)
    for number in range(len(ids))[:: -1 if overlap == "last" else 1]:
        if overlap == "error" and (taken & masks[number]).any():
            other = next(i for i in range(number) if (masks[i] & masks[number]).any())
            a, b, count = ids[other], ids[number], np.count_nonzero(masks[other] & masks[number])
            raise MaskError(
                f"objects {a} and {b} overlap in {count} pixels; accepted: each pixel one "
                f'object\'s. Write overlap="first", if object {a} is in front, overlap="last", if '
                f'object {b} is, or rmnet.io.parse_mask(mask, overlap="first") for a session'
            )
        masks[number] &= ~taken
        taken |= masks[number]
        if not allow_empty and not masks[number].any():
            hidden = "" if overlap == "error" else " that another object does not cover"
            raise MaskError(
                f"object {ids[number]} has no pixels{hidden}; accepted: at least one. Leave it out"
            )
    order = sorted(range(len(ids)), key=ids.__getitem__)
    void = torch.zeros(size, dtype=torch.bool, device="cpu")
    return ObjectMasks(tuple(ids[i] for i in order), torch.from_numpy(masks[order]), void)
