"""What the numbers of a label map mean: ids, void, a binary mask, or grey edges."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

VOID = 255  # a pixel about which a label map says nothing; the convention of DAVIS

_MANY_IDS = 8  # a map of no more ids is never taken for an antialiased mask
_MIN_FILL = 0.05  # share of its box; objects fill more, grey contours less
_MIN_PIXELS = 10  # fewer is no object; eta of the paper
_COUNTABLE = 2**16  # ids below this are found by counting
_MAX_SAMPLE = 1024  # ids looked at, which bounds the memory of the look


def as_binary(labels: NDArray[Any]) -> NDArray[Any]:
    """Tell a binary mask of 0 and 255, as DAVIS 2016 has, from a label map with void.

    Args:
        labels: Integers or bool, not of a palette image; of any shape, since that is checked later.

    Returns:
        (H, W) bool, if it is an integer map of 0 and 255, at least one 255; else `labels`.
    """
    if (
        labels.ndim == 2
        and labels.size
        and labels.max() == VOID
        and ((labels == 0) | (labels == VOID)).all()
    ):
        return labels == VOID
    return labels


def ids_in(labels: NDArray[np.integer]) -> NDArray[np.integer]:
    """The distinct values of a label map.

    Args:
        labels: Integers of any shape.

    Returns:
        (K,) integers, ascending, 0 and void included.
    """
    if labels.size and labels.min() >= 0 and labels.max() < _COUNTABLE:
        # Ten times faster than sorting. NumPy 1 does not count uint64.
        return np.flatnonzero(np.bincount(labels.ravel().astype(np.intp, copy=False)))
    return np.unique(labels)


def is_scattered(labels: NDArray[np.integer], ids: NDArray[np.integer]) -> bool:
    """Whether most of many ids are contours or specks rather than objects.

    Antialiasing leaves each grey value on few pixels all along the contour: they fill little of
    their box, or are too few for an object. Measured: in each of 497 masks resized with grey edges
    more than half of the ids are such; in 162 COCO frames with many objects at most 13 % are.

    Args:
        labels: (H, W) integers.
        ids: (K,) integers, ascending; values of `labels`.

    Returns:
        False for few ids.
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
