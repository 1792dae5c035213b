"""Masks at the door: any form that a caller has becomes disjoint objects with ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from rmnet.errors import MaskError, shown
from rmnet.io.coco_masks import decode_polygons, decode_rle, is_polygons, is_rle
from rmnet.io.label_map import VOID, as_binary, has_void, object_ids_in
from rmnet.io.mask_image import colour_mask, float_mask, image_labels
from rmnet.io.mask_layers import ObjectMasks, Overlap, check_overlap, from_layers

# The mask of one object, or of all: a path, an image, an array, run lengths or polygons of COCO.
LayerLike: TypeAlias = (
    str
    | Path
    | Image.Image
    | NDArray[np.bool_]
    | NDArray[np.integer[Any]]
    | NDArray[np.floating[Any]]
    | torch.Tensor
    | Mapping[str, Any]
    | Sequence[Sequence[float]]
)
# The mask of one frame; see `parse_mask`.
MaskLike: TypeAlias = LayerLike | Mapping[int, LayerLike] | ObjectMasks

_ACCEPTED = (
    "accepted: a PNG path, a PIL image, integer labels (H, W), bool (H, W), run lengths or "
    "polygons of COCO, a dict id -> mask, bool (N, H, W) with object_ids"
)
_LARGEST_ID = 2**31 - 1  # labels come back as int32
_MAX_PIXELS = 2**31  # of all objects together, a byte each; 64 objects at 8K, 255 at 4K


def parse_mask(
    mask: MaskLike,
    *,
    size: tuple[int, int] | None = None,
    object_ids: Sequence[int] | None = None,
    allow_empty: bool = False,
    overlap: Overlap = "error",
) -> ObjectMasks:
    """Turn the mask of one frame into the form that the library works on.

    255 in a label map is void, unless `object_ids` holds 255 or an id is above 255. These are
    binary masks, of one object: bool, floats of 0 and 1, white on black, and 0 and 255 alone,
    except in palette images. One with soft edges is thresholded at half, with a warning.

    Args:
        mask: Path of an image file, turned by its EXIF orientation; PIL image of mode P, L, LA, 1,
            I;16 or I, or white on black; (H, W) integer label map, array or tensor; (H, W) bool,
            or floats of 0 and 1; uint8 (H, W, 3 or 4), white on black; COCO run lengths
            {"size": ..., "counts": ...}; COCO polygons [[x0, y0, x1, y1, ...], ...], with `size`
            and pycocotools; a mapping id -> binary mask in any of these forms; (N, H, W) bool, or
            floats of 0 and 1, with `object_ids`; or ObjectMasks, whose size alone is checked.
        size: Height and width that the mask must have, px.
        object_ids: For a label map, the ids that are objects, all others being background; for
            (N, H, W), the id of each layer; for a binary mask, the id of its object.
        allow_empty: Whether a named object may have no pixels.
        overlap: Which layer of several gets a pixel that is in more than one: "first" or "last" in
            the order given; "error" refuses such masks.

    Returns:
        The objects, in ascending order of their ids.

    Raises:
        MaskError: anything else; a wrong size; no object, or one without pixels; overlapping
            objects; ids below 1, or not distinct; soft edges around several objects; an unreadable
            file.
        MissingDependencyError: polygons without pycocotools.
    """
    check_overlap(overlap)
    ids = None if object_ids is None else checked_ids(object_ids)
    is_named = isinstance(mask, ObjectMasks) or (isinstance(mask, Mapping) and not is_rle(mask))
    if is_named and ids is not None:
        raise MaskError(
            f"object_ids came with a {type(mask).__name__}, which names its own; accepted: one of "
            "the two. Leave object_ids out"
        )
    if isinstance(mask, ObjectMasks):
        objects = mask
    elif isinstance(mask, Mapping) and is_named:
        if "segmentation" in mask:
            raise MaskError(
                "the mask is an annotation of COCO; accepted: its segmentation. Write "
                'mask["segmentation"], or {1: mask["segmentation"]} to choose its id'
            )
        names = checked_ids(mask)
        pairs = zip(names, mask.values(), strict=True)
        layers = [_layer(i, _values(layer, None, size)) for i, layer in pairs]
        objects = from_layers(names, layers, allow_empty=allow_empty, overlap=overlap)
    else:
        values = _values(mask, ids, size)
        if values.ndim == 2 and values.dtype != np.bool_:
            name = f"the mask {str(mask)!r}" if isinstance(mask, str | Path) else "the mask"
            objects = _from_labels(values, ids, allow_empty=allow_empty, name=name)
        else:
            objects = _from_bools(values, ids, allow_empty=allow_empty, overlap=overlap)
    if size is not None and objects.size != tuple(size):
        raise MaskError(
            f"the mask is {objects.size[0]} px high and {objects.size[1]} px wide; accepted: the "
            f"{size[0]} by {size[1]} of the frame. Write {_resized(mask, objects, size)}"
        )
    return objects


def _resized(mask: object, objects: ObjectMasks, size: tuple[int, int]) -> str:
    """Return the line that gives a mask the right size."""
    is_array = isinstance(mask, np.ndarray | torch.Tensor)
    pairs, one = "", "mask"
    if isinstance(mask, ObjectMasks):
        pairs, one = "zip(mask.object_ids, mask.masks)", "m"
    elif isinstance(mask, Mapping) and not is_rle(mask):
        pairs, one = "mask.items()", "m"
    elif is_array and mask.ndim == 3 and not objects.is_binary:
        pairs, one = "zip(object_ids, mask)", "m"
    elif objects.is_binary and not (is_array and mask.ndim == 2):
        one = "rmnet.io.parse_mask(mask).masks[0]"
    elif isinstance(mask, str | Path):
        one = "Image.open(mask)"
    line = (
        f"Image.fromarray(np.asarray({one}, np.int32)).resize(({size[1]}, {size[0]}), "
        "Image.NEAREST)"
    )
    if pairs:
        return f"{{i: {line} for i, m in {pairs}}}"
    is_turned = objects.size == (size[1], size[0])
    return f"np.asarray({one}).T, if it is turned, else {line}" if is_turned else line


def _values(
    mask: object, ids: tuple[int, ...] | None, size: tuple[int, int] | None
) -> NDArray[Any]:
    """Return a mask in any form but that of named objects as an array of bool or integers."""
    if isinstance(mask, str | Path | Image.Image):
        return image_labels(mask, ids)
    if is_rle(mask) and isinstance(mask, Mapping):
        return decode_rle(mask)
    if is_polygons(mask) and isinstance(mask, Sequence):
        return decode_polygons(mask, size)
    array = _as_array(mask)
    if array.dtype.kind == "f":
        is_tensor = isinstance(mask, torch.Tensor)
        return float_mask(array, to_integers="int()" if is_tensor else "astype(int)")
    is_colour = array.ndim == 3 and array.shape[2] in (3, 4) and array.dtype != np.bool_
    if is_colour and array.size and array.min() >= 0 and array.max() <= 255:
        return colour_mask(array.astype(np.uint8, copy=False))
    return as_binary(array, object_ids=ids)


def _as_array(mask: object) -> NDArray[Any]:
    """Return numbers of any shape from an array, or from a tensor on any device."""
    if not isinstance(mask, np.ndarray | torch.Tensor):
        raise MaskError(f"the mask is a {type(mask).__name__}; {_ACCEPTED}")
    try:
        if isinstance(mask, torch.Tensor):
            values = mask.detach().cpu()
            values = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
        else:
            values = np.asarray(mask)
    except (RuntimeError, TypeError) as error:  # sparse, quantised, on the device "meta"
        raise MaskError(f"the mask has no pixels to read: {error}; {_ACCEPTED}") from error
    if values.dtype.kind not in "biuf":
        raise MaskError(f"the mask is {values.dtype}; {_ACCEPTED}")
    return values


def checked_ids(object_ids: Iterable[Any]) -> tuple[int, ...]:
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


def _layer(object_id: int, values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return the mask of one named object as bool (H, W): 0 outside, one other value inside."""
    if values.ndim != 2:
        axis = min(range(values.ndim), key=values.shape.__getitem__, default=0)
        raise MaskError(
            f"the mask of object {object_id} is {values.dtype} of shape {values.shape}; accepted: "
            f"(H, W). Write mask.any(axis={axis}), if its layers are parts of the object"
        )
    if values.dtype == np.bool_:
        return values
    inside = np.unique(values[values != 0])
    if len(inside) > 1 or any(int(value) not in (1, VOID, object_id) for value in inside):
        raise MaskError(
            f"the mask of object {object_id} holds the values {inside[:9].tolist()}; accepted: 0 "
            f"outside and one of 1, 255 or {object_id} inside. Write np.asarray(mask) == "
            f"{inside[0]} for a single value of these, or np.asarray(mask) > 0 for all"
        )
    return values != 0


def _from_bools(
    array: NDArray[Any], ids: tuple[int, ...] | None, *, allow_empty: bool, overlap: Overlap
) -> ObjectMasks:
    """Make objects from a binary mask (H, W) or layers (N, H, W), or refuse another array."""
    if array.ndim == 2:
        one = from_layers((1,) if ids is None else ids, [array], allow_empty=allow_empty)
        return replace(one, is_binary=ids is None)
    if array.ndim == 3 and array.dtype == np.bool_:
        if ids is None:
            raise MaskError(
                f"the mask is bool of shape {array.shape}, without object_ids; accepted: with the "
                f"id of each layer. Write object_ids=range(1, {len(array) + 1}), if any will do"
            )
        return from_layers(ids, list(array), allow_empty=allow_empty, overlap=overlap)
    if array.ndim != 3:
        remedy = _ACCEPTED
    elif 1 in (array.shape[0], array.shape[2]):
        remedy = f"accepted: (H, W). Write mask{'[0]' if array.shape[0] == 1 else '[..., 0]'}"
    else:
        remedy = "accepted: bool layers. Write mask > 0 with object_ids, if a layer is an object"
    raise MaskError(f"the mask is {array.dtype} of shape {array.shape}; {remedy}")


def _from_labels(
    labels: NDArray[np.integer],
    wanted: tuple[int, ...] | None,
    *,
    allow_empty: bool,
    name: str,
) -> ObjectMasks:
    """Make objects from a label map (H, W); see `object_ids_in`."""
    ids = checked_ids(object_ids_in(labels, wanted, allow_empty=allow_empty, name=name))
    num_pixels = len(ids) * labels.size
    if num_pixels > _MAX_PIXELS:  # a file of a few KB can hold thousands of ids
        raise MaskError(
            f"{len(ids)} objects of {labels.shape} px are {num_pixels} px; accepted: at most "
            f"{_MAX_PIXELS} px of all objects. Write object_ids=np.unique(mask)[1:"
            f"{_MAX_PIXELS // labels.size + 1}] for fewer, or give smaller frames"
        )
    masks = np.stack([labels == i for i in ids])
    void = (labels == VOID) & (VOID not in ids and has_void(labels))
    return ObjectMasks(ids, torch.from_numpy(masks), torch.from_numpy(void))
