"""Masks at the door: any form that a caller has becomes disjoint objects with ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias, Union

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from rmnet.errors import MaskError, shown
from rmnet.io.label_map import VOID, as_binary, object_ids_in
from rmnet.io.label_png import COLOUR_REMEDY, image_labels

# The mask of one frame; see `parse_mask`.
MaskLike: TypeAlias = Union[
    str, Path, Image.Image, NDArray[Any], torch.Tensor, Mapping[int, Any], "ObjectMasks"
]

_ACCEPTED = (
    "accepted: a PNG path, a PIL image (P, L, 1), integer labels (H, W), bool (H, W), "
    "a dict id -> bool (H, W), bool (N, H, W) with object_ids"
)
_LARGEST_ID = 2**31 - 1  # labels come back as int32
_MAX_PIXELS = 2**31  # of all objects together, a byte each; 64 objects at 8K, 255 at 4K


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


def parse_mask(
    mask: object,
    *,
    size: tuple[int, int] | None = None,
    object_ids: Sequence[int] | None = None,
    allow_empty: bool = False,
) -> ObjectMasks:
    """Turn the mask of one frame into the form that the library works on.

    255 in a label map is void, unless `object_ids` holds 255. A map of only 0 and 255 that is not
    a palette image is a binary mask.

    Args:
        mask: Path of an image file; PIL image of mode P, L, LA, 1, I;16 or I; (H, W) integer label
            map, array or tensor; (H, W) bool, the object 1; a mapping id -> (H, W) bool;
            (N, H, W) bool, with `object_ids`; or ObjectMasks, whose size alone is checked.
        size: Height and width that the mask must have, px.
        object_ids: For a label map, the ids that are objects, all others being background; for
            (N, H, W) bool, the id of each layer; for a binary mask, the id of its object.
        allow_empty: Whether a named object may have no pixels.

    Returns:
        The objects, in ascending order of their ids.

    Raises:
        MaskError: anything else; a wrong size; no object, or one without pixels; overlapping
            objects; ids below 1, or not distinct; an antialiased mask; an unreadable file.
    """
    ids = None if object_ids is None else _checked_ids(object_ids)
    if isinstance(mask, ObjectMasks | Mapping) and ids is not None:
        raise MaskError(
            f"object_ids came with a {type(mask).__name__}, which names its own; accepted: one of "
            "the two. Leave object_ids out"
        )
    if isinstance(mask, ObjectMasks):
        objects = mask
    elif isinstance(mask, Mapping):
        layers = [_as_array(layer) for layer in mask.values()]
        objects = _from_layers(_checked_ids(mask), layers, allow_empty=allow_empty)
    elif isinstance(mask, str | Path | Image.Image):
        objects = _from_array(image_labels(mask), ids, allow_empty=allow_empty)
    else:
        objects = _from_array(as_binary(_as_array(mask)), ids, allow_empty=allow_empty)
    if size is not None and objects.size != tuple(size):
        height, width = size
        raise MaskError(
            f"the mask is {objects.size[0]} px high and {objects.size[1]} px wide; accepted: the "
            f"{height} by {width} of the frame. Write mask.T, if it is turned, else "
            f"Image.fromarray(mask).resize(({width}, {height}), Image.NEAREST)"
        )
    return objects


def _as_array(mask: object) -> NDArray[Any]:
    """Return integers or bool of any shape from an array, or from a tensor on any device."""
    if not isinstance(mask, np.ndarray | torch.Tensor):
        raise MaskError(f"the mask is a {type(mask).__name__}; {_ACCEPTED}")
    if isinstance(mask, torch.Tensor):
        is_whole = not (mask.is_floating_point() or mask.is_complex())
    else:
        is_whole = mask.dtype.kind in "biu"
    if not is_whole:
        raise MaskError(
            f"the mask is {mask.dtype}; accepted: ids as integers, or bool. Write mask > 0.5, if "
            "it holds probabilities; round it and make it integer, if it holds ids"
        )
    try:
        return mask.detach().cpu().numpy() if isinstance(mask, torch.Tensor) else np.asarray(mask)
    except (RuntimeError, TypeError) as error:  # sparse, quantised, on the device "meta"
        raise MaskError(f"the mask has no pixels to read: {error}; {_ACCEPTED}") from error


def _checked_ids(object_ids: Iterable[Any]) -> tuple[int, ...]:
    """Return the ids in the order given: distinct integers from 1, at least one."""
    if not isinstance(object_ids, Iterable):
        raise MaskError(f"object_ids is {shown(object_ids)}; accepted: ids, such as [1, 2]")
    ids: list[int] = []
    for object_id in object_ids:
        is_integer = isinstance(object_id, int | np.integer) and not isinstance(object_id, bool)
        if not is_integer or not 1 <= int(object_id) <= _LARGEST_ID:
            raise MaskError(
                f"{shown(object_id)} is not an object id; accepted: integers from 1 to "
                f"{_LARGEST_ID}; 0 is background"
            )
        ids.append(int(object_id))
    if not ids:
        raise MaskError("there are no object ids; accepted: at least one object")
    if len(set(ids)) < len(ids):
        twice = next(i for i in ids if ids.count(i) > 1)
        raise MaskError(f"the object id {twice} comes twice; accepted: each id once")
    return tuple(ids)


def _from_array(
    array: NDArray[Any], ids: tuple[int, ...] | None, *, allow_empty: bool
) -> ObjectMasks:
    """Make objects from a label map, a binary mask, or layers, told apart by shape and dtype."""
    if array.ndim == 2 and array.dtype != np.bool_:
        return _from_labels(array, ids, allow_empty=allow_empty)
    if array.ndim == 2:
        one = _from_layers((1,) if ids is None else ids, [array], allow_empty=allow_empty)
        return replace(one, is_binary=ids is None)
    if array.ndim == 3 and array.dtype == np.bool_:
        if ids is None:
            raise MaskError(
                f"the mask is bool of shape {array.shape}, without object_ids; accepted: with the "
                f"id of each layer. Write object_ids=range(1, {len(array) + 1}), if any will do"
            )
        return _from_layers(ids, list(array), allow_empty=allow_empty)
    if array.ndim != 3:
        remedy = _ACCEPTED
    elif array.shape[2] in (3, 4):
        remedy = f"accepted: one id a pixel, (H, W). {COLOUR_REMEDY}"
    elif 1 in (array.shape[0], array.shape[2]):
        remedy = f"accepted: (H, W). Write mask{'[0]' if array.shape[0] == 1 else '[..., 0]'}"
    else:
        remedy = "accepted: bool layers. Write mask > 0 with object_ids, if a layer is an object"
    raise MaskError(f"the mask is {array.dtype} of shape {array.shape}; {remedy}")


def _from_layers(
    ids: tuple[int, ...], layers: Sequence[NDArray[Any]], *, allow_empty: bool
) -> ObjectMasks:
    """Make objects from bool layers (H, W), one for each id."""
    if len(ids) != len(layers):
        raise MaskError(
            f"{len(layers)} layers came with {len(ids)} object_ids; accepted: as many ids as "
            f"layers. Write object_ids=range(1, {len(layers) + 1}), if any ids will do"
        )
    taken = np.zeros(layers[0].shape, np.bool_)
    for number, (object_id, layer) in enumerate(zip(ids, layers, strict=True)):
        if layer.ndim != 2 or layer.dtype != np.bool_ or layer.shape != taken.shape:
            raise MaskError(
                f"the mask of object {object_id} is {layer.dtype} of shape {layer.shape}; "
                "accepted: bool (H, W), all of one size. Write mask > 0, if it is 0 outside"
            )
        if not allow_empty and not layer.any():
            raise MaskError(
                f"object {object_id} has no pixels; accepted: at least one. Leave it out"
            )
        if (taken & layer).any():
            other = next(i for i in range(number) if (layers[i] & layer).any())
            a, b, count = ids[other], object_id, (layers[other] & layer).sum()
            raise MaskError(
                f"objects {a} and {b} overlap in {count} pixels; accepted: each pixel one "
                f"object's. Write masks[{b}] & ~masks[{a}], if object {a} is in front"
            )
        taken |= layer
    order = sorted(range(len(ids)), key=ids.__getitem__)
    # Compared as bytes: Pillow decodes mode 1 to trues of 255, which torch would count as 255.
    masks = torch.from_numpy(np.stack([layers[number].view(np.uint8) != 0 for number in order]))
    void = torch.zeros(taken.shape, dtype=torch.bool, device="cpu")
    return ObjectMasks(tuple(ids[number] for number in order), masks, void)


def _from_labels(
    labels: NDArray[np.integer], wanted: tuple[int, ...] | None, *, allow_empty: bool
) -> ObjectMasks:
    """Make objects from a label map (H, W); see `object_ids_in`."""
    ids = _checked_ids(object_ids_in(labels, wanted, allow_empty=allow_empty))
    num_pixels = len(ids) * labels.size
    if num_pixels > _MAX_PIXELS:  # a file of a few KB can hold thousands of ids
        raise MaskError(
            f"{len(ids)} objects of {labels.shape} px are {num_pixels} px; accepted: at most "
            f"{_MAX_PIXELS} px of all objects. Write object_ids=[...] with fewer, or smaller frames"
        )
    masks = np.stack([labels == i for i in ids])
    void = np.zeros(labels.shape, np.bool_) if VOID in ids else labels == VOID
    return ObjectMasks(ids, torch.from_numpy(masks), torch.from_numpy(void))
