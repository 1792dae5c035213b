"""The values of a label map: ids, void, a binary mask, or grey edges."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rmnet.errors import MaskError

VOID = 255  # a pixel about which a label map says nothing; the convention of DAVIS

_MANY_IDS = 8  # a map with no more ids is never taken for an antialiased mask
_MIN_FILL = 0.05  # share of its box; objects fill more, grey contours less
_MIN_PIXELS = 10  # of an object; eta of the paper
_COUNTABLE = 2**16  # ids below this are found by counting
_MAX_SAMPLE = 1024  # ids examined, which bounds the memory needed


def as_binary(labels: NDArray[Any]) -> NDArray[Any]:
    """Turn a map (H, W) of 0 and 255 alone, as in DAVIS 2016, into bool; return others as given."""
    is_binary = (
        labels.ndim == 2
        and labels.size
        and labels.max() == VOID
        and ((labels == 0) | (labels == VOID)).all()
    )
    return labels == VOID if is_binary else labels


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
    labels: NDArray[np.integer], wanted: Iterable[int] | None, *, allow_empty: bool
) -> list[int]:
    """Return the ids of the objects in a label map (H, W), ascending.

    These are the ids wanted, some of which may be missing if `allow_empty`; or all but 0 and void,
    unless they look like those of an antialiased mask.
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
                f"the mask has no pixels of object_ids {missing}; accepted: ids that are in it, "
                f"{', '.join(map(str, present[:20]))}{', ...' if len(present) > 20 else ''}"
            )
        return sorted(wanted)
    ids = present[(present != 0) & (present != VOID)]
    if len(ids) == 0:
        raise MaskError(
            "the mask has no object pixel, only 0 (background) or 255 (void); accepted: at "
            "least one object. Write object_ids=[255], if 255 is an object"
        )
    if _is_scattered(labels, ids):
        raise MaskError(
            f"the mask has {len(ids)} ids, most of them scattered pixels, like the grey edges of "
            "an antialiased or JPEG mask; accepted: one id an object. Write (mask > 127), or "
            "object_ids=[...] with the ids that are objects"
        )
    return ids.tolist()


def _is_scattered(labels: NDArray[np.integer], ids: NDArray[np.integer]) -> bool:
    """Return whether most of many ids (K,), ascending, are contours or specks, not objects.

    Antialiasing leaves each grey value on few pixels all along the contour: they fill little of
    their box, or are too few for an object. Measured: in each of 497 masks resized with grey edges
    more than half of the ids are such; in 162 COCO frames with many objects at most 13 % are.
    """
    if len(ids) <= _MANY_IDS:
        return False
    ids = ids[:: len(ids) // _MAX_SAMPLE + 1]
    y, x = np.nonzero(np.isin(labels, ids))
    which = np.searchsorted(ids, labels[y, x])
    areas = np.bincount(which, minlength=len(ids))
    box_areas = np.ones(len(ids), np.int64)
    for coordinate, length in ((y, labels.shape[0]), (x, labels.shape[1])):
        occupied = np.zeros((len(ids), length), np.bool_)
        occupied[which, coordinate] = True
        box_areas *= length - occupied.argmax(axis=1) - occupied[:, ::-1].argmax(axis=1)
    return bool(np.mean((areas < _MIN_FILL * box_areas) | (areas < _MIN_PIXELS)) > 0.5)
