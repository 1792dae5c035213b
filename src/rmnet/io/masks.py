"""Masks at the door: whatever a caller has becomes disjoint objects with ids."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias, Union

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from rmnet.errors import MaskError, shown
from rmnet.io.label_map import VOID, as_binary, ids_in, is_scattered
from rmnet.io.label_png import COLOUR_REMEDY, image_labels, open_label_image

# What stands for the mask of one frame; see `parse_mask`.
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
    """The objects of one frame; `parse_mask` makes them and checks them.

    Attributes:
        object_ids: N ids, ascending, each at least 1.
        masks: (N, H, W) bool on the CPU, disjoint, in the order of `object_ids`.
        void: (H, W) bool on the CPU; pixels about which the mask says nothing, no object's.
        is_binary: Whether the mask named no object, which is then called 1.
    """

    object_ids: tuple[int, ...]
    masks: torch.Tensor
    void: torch.Tensor
    is_binary: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.masks.shape[1], self.masks.shape[2]

    def labels(self) -> NDArray[np.int32]:
        """One map for all objects.

        Returns:
            (H, W) int32 of the ids; 0 for background and void.
        """
        labels = np.zeros(self.size, np.int32)
        for object_id, mask in zip(self.object_ids, self.masks.numpy(), strict=True):
            labels[mask] = object_id
        return labels


def parse_mask(
    mask: object,
    *,
    size: tuple[int, int] | None = None,
    object_ids: Sequence[int] | None = None,
    allow_empty: bool = False,
) -> ObjectMasks:
    """Bring the mask of one frame into the form the library works on.

    255 in a label map is void, unless `object_ids` holds 255. A map of 0 and 255 alone that is
    not a palette image is a binary mask.

    Args:
        mask: Path of an image file; PIL image of mode P, L, LA, 1, I;16 or I; (H, W) integer label
            map, array or tensor; (H, W) bool, the object 1; a mapping id -> (H, W) bool;
            (N, H, W) bool, with `object_ids`; or ObjectMasks, which are only checked for size.
        size: Height and width that the mask must have, px.
        object_ids: Of a label map, the ids to take, all others being background; of (N, H, W)
            bool, the id of each; of a binary mask, the id of its object.
        allow_empty: Whether an object that is named may have no pixels.

    Returns:
        The objects, in ascending order of their ids.

    Raises:
        MaskError: anything else; a wrong size, no object, an object without pixels, overlapping
            objects, ids that are not integers of at least 1 or come twice, an antialiased mask,
            or a file that cannot be read.
    """
    ids = None if object_ids is None else _checked_ids(object_ids)
    if isinstance(mask, ObjectMasks | Mapping) and ids is not None:
        raise MaskError(
            f"object_ids came with a {type(mask).__name__}, which names its own; accepted: one of "
            "the two. Leave object_ids out"
        )
    if isinstance(mask, ObjectMasks):
        _check_size(mask.size, size)
        return mask
    if isinstance(mask, Mapping):
        layers = [_as_array(layer) for layer in mask.values()]
        return _from_layers(_checked_ids(mask), layers, size, allow_empty=allow_empty)
    if isinstance(mask, str | Path):
        array = image_labels(open_label_image(mask), name=f"the mask {str(mask)!r}")
    elif isinstance(mask, Image.Image):
        array = image_labels(mask)
    else:
        array = as_binary(_as_array(mask))
    if array.ndim == 2 and array.dtype != np.bool_:
        return _from_labels(array, ids, size, allow_empty=allow_empty)
    if array.ndim == 2:
        one = _from_layers((1,) if ids is None else ids, [array], size, allow_empty=allow_empty)
        return replace(one, is_binary=ids is None)
    if array.ndim != 3 or array.dtype != np.bool_:
        raise MaskError(
            f"the mask is {array.dtype} of shape {array.shape}; {_layout_remedy(array)}"
        )
    if ids is None:
        raise MaskError(
            f"the mask is bool of shape {array.shape}, without object_ids; accepted: with the id "
            f"of each layer. Write object_ids=range(1, {len(array) + 1}), if any ids will do"
        )
    return _from_layers(ids, list(array), size, allow_empty=allow_empty)


def _as_array(mask: object) -> NDArray[Any]:
    """An array of integers or bool, of any shape, from an array or a tensor on any device."""
    if not isinstance(mask, np.ndarray | torch.Tensor):
        raise MaskError(f"the mask is a {type(mask).__name__}; {_ACCEPTED}")
    is_tensor = isinstance(mask, torch.Tensor)
    if mask.is_floating_point() if is_tensor else np.issubdtype(mask.dtype, np.floating):
        raise MaskError(
            f"the mask is {mask.dtype}; accepted: ids as integers, or bool. Write mask > 0.5, if "
            "it holds probabilities; round it and make it integer, if it holds ids"
        )
    try:
        array = mask.detach().cpu().numpy() if is_tensor else np.asarray(mask)
    except (RuntimeError, TypeError) as error:  # sparse, quantised, on the device "meta"
        raise MaskError(f"the mask has no pixels to read: {error}; {_ACCEPTED}") from error
    if array.dtype.kind not in "biu":
        raise MaskError(f"the mask is {array.dtype}; {_ACCEPTED}")
    return array


def _layout_remedy(array: NDArray[Any]) -> str:
    """What is accepted instead of a shape that is no mask's, and the line to write."""
    if array.ndim == 3 and array.shape[2] in (3, 4):
        return f"accepted: one id a pixel, (H, W). {COLOUR_REMEDY}"
    if array.ndim == 3 and 1 in (array.shape[0], array.shape[2]):
        return f"accepted: (H, W). Write mask{'[0]' if array.shape[0] == 1 else '[..., 0]'}"
    if array.ndim == 3:
        return "accepted: bool layers. Write mask > 0 with object_ids, if a layer is an object"
    return _ACCEPTED


def _checked_ids(object_ids: Iterable[Any]) -> tuple[int, ...]:
    if not isinstance(object_ids, Iterable):
        raise MaskError(
            f"object_ids is {shown(object_ids)}; accepted: ids, such as object_ids=[1, 2]"
        )
    ids: dict[int, None] = {}  # in the order they came
    for object_id in object_ids:
        is_integer = isinstance(object_id, int | np.integer) and not isinstance(object_id, bool)
        if not is_integer or not 1 <= int(object_id) <= _LARGEST_ID:
            raise MaskError(
                f"{shown(object_id)} is not an object id; accepted: integers from 1 to {_LARGEST_ID}. "
                "Write other ids than 0, which is background"
            )
        if int(object_id) in ids:
            raise MaskError(f"the object id {object_id} comes twice; accepted: each id once")
        ids[int(object_id)] = None
    if not ids:
        raise MaskError("there are no object ids; accepted: at least one object")
    return tuple(ids)


def _check_room(num_objects: int, shape: tuple[int, ...]) -> None:
    """Refuse what would fill the memory: a file of a few KB may hold thousands of ids."""
    num_pixels = num_objects * math.prod(shape)
    if num_pixels > _MAX_PIXELS:
        raise MaskError(
            f"{num_objects} objects of {shape} px are {num_pixels} px; accepted: at most "
            f"{_MAX_PIXELS} px of all objects. Write object_ids=[...] with fewer, or smaller frames"
        )


def _check_size(shape: tuple[int, ...], size: tuple[int, int] | None) -> None:
    if size is None or shape == tuple(size):
        return
    height, width = size
    remedy = f"Image.fromarray(mask).resize(({width}, {height}), Image.NEAREST)"
    if shape == (width, height):
        remedy = f"mask.T or np.rot90(mask), if it is turned, else {remedy}"
    raise MaskError(
        f"the mask is {shape[0]} px high and {shape[1]} px wide; accepted: the {height} by {width} "
        f"of the frame. Write {remedy}"
    )


def _from_layers(
    ids: tuple[int, ...],
    layers: Sequence[NDArray[Any]],
    size: tuple[int, int] | None,
    *,
    allow_empty: bool,
) -> ObjectMasks:
    """Objects from one bool (H, W) each, `layers[i]` of the object `ids[i]`."""
    if layers:
        _check_room(len(layers), layers[0].shape)
    if len(ids) != len(layers):
        raise MaskError(
            f"{len(layers)} layers came with {len(ids)} object_ids; accepted: as many ids as "
            f"layers. Write object_ids=range(1, {len(layers) + 1}), if any ids will do"
        )
    for object_id, layer in zip(ids, layers, strict=True):
        if layer.ndim != 2 or layer.dtype != np.bool_ or layer.shape != layers[0].shape:
            raise MaskError(
                f"the mask of object {object_id} is {layer.dtype} of shape {layer.shape}; "
                "accepted: bool (H, W), all of one size. Write mask > 0, if it is 0 outside"
            )
        _check_size(layer.shape, size)
        if not allow_empty and not layer.any():
            raise MaskError(
                f"object {object_id} has no pixels; accepted: at least one. Leave it out"
            )
    _check_disjoint(ids, layers)
    order = sorted(range(len(ids)), key=ids.__getitem__)
    # Compared as bytes: what Pillow makes of mode 1 has trues of 255, which torch takes for 255.
    masks = torch.from_numpy(np.stack([layers[number].view(np.uint8) != 0 for number in order]))
    void = torch.zeros(layers[0].shape, dtype=torch.bool, device="cpu")
    return ObjectMasks(tuple(ids[number] for number in order), masks, void)


def _check_disjoint(ids: tuple[int, ...], layers: Sequence[NDArray[np.bool_]]) -> None:
    taken = np.zeros(layers[0].shape, np.bool_)
    for number, layer in enumerate(layers):
        shared = taken & layer
        if shared.any():
            pixel = np.unravel_index(shared.argmax(), shared.shape)
            first = next(earlier for earlier in range(number) if layers[earlier][pixel])
            count, a, b = int((layers[first] & layer).sum()), ids[first], ids[number]
            raise MaskError(
                f"objects {a} and {b} overlap in {count} pixels; accepted: each pixel one "
                f"object's. Write masks[{b}] & ~masks[{a}], if object {a} is in front"
            )
        taken |= layer


def _from_labels(
    labels: NDArray[np.integer],
    wanted: tuple[int, ...] | None,
    size: tuple[int, int] | None,
    *,
    allow_empty: bool,
) -> ObjectMasks:
    """Objects of a map (H, W): the `wanted` ids, or else all but background and void."""
    _check_size(labels.shape, size)
    present = ids_in(labels)
    if wanted is None:
        ids = [int(i) for i in present if i not in (0, VOID)]
        if not ids:
            raise MaskError(
                "the mask has no object pixel, only 0 (background) or 255 (void); accepted: at "
                "least one object. Write object_ids=[255], if 255 is an object"
            )
        ids = _checked_ids(ids)
        if is_scattered(labels, np.asarray(ids, present.dtype)):
            raise MaskError(
                f"the mask has {len(ids)} ids, most of them scattered pixels, like the grey edges "
                "of an antialiased or JPEG mask; accepted: one id an object. Write "
                "(mask > 127), or object_ids=[...] with the ids that are objects"
            )
    else:
        ids = tuple(sorted(wanted))
        missing = [i for i in ids if i not in present]
        if missing and not allow_empty:
            raise MaskError(
                f"the mask has no pixels of object_ids {missing}; accepted: ids that are in it, "
                f"{', '.join(map(str, present[:20]))}{', ...' if len(present) > 20 else ''}"
            )
    _check_room(len(ids), labels.shape)
    masks = np.stack([labels == i for i in ids])
    void = np.zeros(labels.shape, np.bool_) if VOID in ids else labels == VOID
    return ObjectMasks(ids, torch.from_numpy(masks), torch.from_numpy(void))
