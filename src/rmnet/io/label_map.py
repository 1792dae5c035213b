"""The values of a label map: ids, void, or those of a binary mask."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rmnet.errors import MaskError
from rmnet.io.softness import soft_threshold

VOID = 255  # a pixel about which a label map says nothing; the convention of DAVIS

_COUNTABLE = 2**16  # ids below this are found by counting


def has_void(*maps: NDArray[Any]) -> bool:
    """Return whether 255 is void in the label maps of a video: unless an id is above it."""
    return not any(labels.size and labels.max() > VOID for labels in maps)


def as_binary(
    labels: NDArray[Any],
    *,
    object_ids: Sequence[int] | None = None,
    lossy: bool = False,
    name: str = "the mask",
) -> NDArray[Any]:
    """Turn a binary mask into bool, and return a label map as given.

    A binary mask holds 0 and 255 alone, as in DAVIS 2016, or is a soft one, which is thresholded
    with a warning.

    Args:
        labels: (H, W) of any integer dtype; another shape is returned as given.
        object_ids: The ids that the caller chooses from the map, if any. Several make it a label
            map; a single one may also be that of a binary mask.
        lossy: Whether the map comes from a JPEG.
        name: Of the mask in messages.

    Raises:
        MaskError: The map has soft edges and several objects, and no ids were chosen from it.
    """
    if labels.ndim != 2 or labels.dtype == np.bool_ or not labels.size:
        return labels
    if labels.max() == VOID and ((labels == 0) | (labels == VOID)).all():
        return labels == VOID
    if object_ids is not None and len(object_ids) > 1:
        return labels
    try:
        threshold = soft_threshold(labels, name=name, lossy=lossy)
    except MaskError:
        if object_ids is None:
            raise
        return labels
    if threshold is None:
        return labels
    warn_caller(
        f"{name} has soft edges (resized, blurred or JPEG); its object is where it is above "
        f"{int(threshold)}. Write mask > {int(threshold)} to say so yourself"
    )
    return labels > threshold


def as_binary_video(maps: Mapping[int, NDArray[Any]]) -> Mapping[int, NDArray[Any]]:
    """Turn the maps of a video into 0 and 1 if all are binary masks or empty; see `as_binary`."""
    binary = {index: as_binary(labels) for index, labels in maps.items()}
    are_bool = [labels.dtype == np.bool_ for labels in binary.values()]
    if any(are_bool) and all(
        labels.dtype == np.bool_ or not labels.any() for labels in binary.values()
    ):
        return {index: labels.astype(np.uint8) for index, labels in binary.items()}
    return maps


def warn_caller(message: str) -> None:
    """Warn at the line outside this library that called it."""
    depth = outermost = 0
    frame = inspect.currentframe()
    while frame is not None:
        if str(frame.f_globals.get("__name__", "")).partition(".")[0] == "rmnet":
            outermost = depth
        frame, depth = frame.f_back, depth + 1
    warnings.warn(message, stacklevel=outermost + 2)


def checked_labels(labels: NDArray[Any]) -> NDArray[np.integer]:
    """Return a label map (H, W) to draw or write, or refuse what is none."""
    labels = np.asarray(labels)
    if labels.ndim != 2 or labels.dtype.kind not in "iu" or labels.size == 0:
        raise MaskError(
            f"labels are {labels.dtype} of shape {labels.shape}; accepted: integers (H, W). "
            "Write labels.astype(np.int32), if the values are ids"
        )
    return labels


def object_ids_in(
    labels: NDArray[np.integer],
    wanted: Iterable[int] | None,
    *,
    allow_empty: bool,
    name: str = "the mask",
) -> list[int]:
    """Return the ids of the objects in a label map (H, W), ascending.

    These are the ids wanted, some of which may be missing if `allow_empty`; or all but 0 and void.
    """
    if labels.size and labels.min() >= 0 and labels.max() < _COUNTABLE:
        # Ten times faster than sorting. NumPy 1 does not count uint64.
        present = np.flatnonzero(np.bincount(labels.ravel().astype(np.intp, copy=False)))
    else:
        present = np.unique(labels)
    if wanted is not None:
        missing = [i for i in wanted if i not in present]
        if missing and not allow_empty:
            raise MaskError(
                f"{name} has no pixels of object_ids {missing}; accepted: ids that are in it, "
                f"{', '.join(map(str, present[:20]))}{', ...' if len(present) > 20 else ''}"
            )
        return sorted(wanted)
    has_void = len(present) > 0 and present[-1] == VOID
    ids = present[present != 0][: -1 if has_void else None]
    if len(ids) == 0:
        remedy = (
            "Write {1: mask}, if 255 is object 1, or for a file Image.fromarray(np.asarray("
            "Image.open(path)) // 255).save(path)"
            if has_void
            else "Leave the mask out, if there is none"
        )
        raise MaskError(
            f"{name} has no object pixel, only 0 (background) or 255 (void); accepted: at least "
            f"one object. {remedy}"
        )
    return ids.tolist()
