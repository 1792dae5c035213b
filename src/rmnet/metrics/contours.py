"""How much of two masks' contours lies near each other.

Both contours share one uint8 map, a bit each, so that every step below is done once for both; and
only the rectangle that holds them is looked at.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
ContourMap = NDArray[np.uint8]  # bit 0: the first mask's contour, bit 1: the second's


class ContourMatch(NamedTuple):
    """Counts of pixels."""

    first: int  # of the first mask's contour
    second: int
    first_near_second: int  # of the first mask's contour, within the radius of the second's
    second_near_first: int


def match_contours(first: Mask, second: Mask, *, radius: int) -> ContourMatch:
    """Count the pixels of each contour that lie within a disk of the other.

    A pixel is of a mask's contour if it differs from its right, lower or lower right neighbour;
    what lies outside the frame differs from nothing.

    Args:
        first: (H, W) bool.
        second: (H, W) bool.
        radius: px, at least 0; pixels at this distance are within.

    Returns:
        The four counts; all 0 where neither mask has a contour.

    Source: the contour is `seg2bmap` of the Berkeley segmentation benchmark.
    """
    crop = _around_both(first, second)
    if crop is None:
        return ContourMatch(0, 0, 0, 0)
    contours = _draw_contours(first[crop], second[crop], margin=radius)
    near = _dilate(contours, radius)
    contours = contours[radius : len(contours) - radius]
    one, other = (contours & 1).view(np.bool_), contours > 1
    counts = (one, other, one & (near > 1), other & (near & 1).view(np.bool_))
    return ContourMatch(*(int(np.count_nonzero(pixels)) for pixels in counts))


def _around_both(first: Mask, second: Mask) -> tuple[slice, slice] | None:
    """Rows and columns of both masks and 1 px around: all contours; None if both are empty."""
    pixels = bytearray(first.size)  # can be searched from both ends, at the speed of memory
    either = np.frombuffer(pixels, np.bool_).reshape(first.shape)
    np.logical_or(first, second, out=either)
    start = pixels.find(1)
    if start < 0:
        return None
    width = first.shape[1]
    rows = slice(max(start // width - 1, 0), pixels.rfind(1) // width + 2)
    columns = np.flatnonzero(either[rows].any(axis=0))
    return rows, slice(max(int(columns[0]) - 1, 0), int(columns[-1]) + 2)


def _draw_contours(first: Mask, second: Mask, *, margin: int) -> ContourMap:
    """Contours (h + 2 margin, w + max(margin, 1)) of masks (h, w).

    The margins hold no contour; they lie above, below and on the right.
    """
    h, w = second.shape
    masks = np.empty((h + 2, w + max(margin, 1)), np.uint8)
    inside = masks[:h, :w]
    np.add(second.view(np.uint8), second.view(np.uint8), out=inside)
    inside |= first.view(np.uint8)
    # The edge repeated: what lies outside differs from nothing.
    masks[:h, w:] = masks[:h, w - 1 : w]
    masks[h:] = masks[h - 1]
    # Rows end to end, since one long line is faster than many short ones.
    line, stride, size = masks.reshape(-1), masks.shape[1], h * masks.shape[1]
    contours = np.zeros((h + 2 * margin, stride), np.uint8)
    drawn = contours[margin : margin + h].reshape(-1)
    for neighbour in (1, stride, stride + 1):
        drawn |= line[:size] ^ line[neighbour : neighbour + size]
    contours[:, w:] = 0
    return contours


def _dilate(contours: ContourMap, radius: int) -> ContourMap:
    """What lies within the radius of a contour, (h, stride) of (h + 2 radius, stride).

    The disk is a stack of horizontal runs, longer ones grown from shorter ones. Rows lie end to
    end here too: a run that leaves its row ends in the margin, which is as wide as the radius.
    """
    stride, run, length = contours.shape[1], contours.reshape(-1).copy(), 1
    near = np.zeros((len(contours) - 2 * radius, stride), np.uint8)
    line = near.reshape(-1)
    for dy in range(radius, -1, -1):
        half = math.isqrt(radius * radius - dy * dy)
        while length < 2 * half + 1:  # run[i] is the union of `length` pixels from i on
            step = min(length, 2 * half + 1 - length)
            run[:-step] |= run[step:]
            length += step
        for row in {radius - dy, radius + dy}:
            start = row * stride - half
            line |= run[start : start + len(line)]
    return near
