"""How much of the contours of two masks lies near each other.

Both contours share one uint8 map, one bit each, so every step handles both at once.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
ContourMap = NDArray[np.uint8]  # bit 0: the first mask's contour, bit 1: the second's


def match_contours(first: Mask, second: Mask, *, radius: int) -> list[int]:
    """Count the pixels of both contours, and those within a radius (px) of the other contour.

    Source: the contour is `seg2bmap` of the Berkeley segmentation benchmark.
    """
    crop = _around_both(first, second)
    if crop is None:
        return [0, 0, 0, 0]
    contours = _draw_contours(first[crop], second[crop], margin=radius)
    near = _dilate(contours, radius)
    contours = contours[radius : len(contours) - radius]
    one, other = (contours & 1).view(np.bool_), contours > 1
    counted = (one, other, one & (near > 1), other & (near & 1).view(np.bool_))
    return [int(np.count_nonzero(pixels)) for pixels in counted]


def _around_both(first: Mask, second: Mask) -> tuple[slice, slice] | None:
    """Return rows and columns of all contours: both masks and 1 px around; None if both are empty."""
    pixels = bytearray(first.size)  # searched from both ends at the speed of memory
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
    """Return the contours (h + 2 margin, w + max(margin, 1)) of masks (h, w); margins hold none."""
    h, w = second.shape
    masks = np.empty((h + 2, w + max(margin, 1)), np.uint8)
    inside = masks[:h, :w]
    np.add(second.view(np.uint8), second.view(np.uint8), out=inside)
    inside |= first.view(np.uint8)
    # Repeat the edge, so that pixels outside the frame differ from nothing.
    masks[:h, w:] = masks[:h, w - 1 : w]
    masks[h:] = masks[h - 1]
    # Rows lie end to end: one long line is faster than many short ones.
    line, stride, size = masks.reshape(-1), masks.shape[1], h * masks.shape[1]
    contours = np.zeros((h + 2 * margin, stride), np.uint8)
    drawn = contours[margin : margin + h].reshape(-1)
    for neighbour in (1, stride, stride + 1):
        drawn |= line[:size] ^ line[neighbour : neighbour + size]
    contours[:, w:] = 0
    return contours


def _dilate(contours: ContourMap, radius: int) -> ContourMap:
    """Return the pixels within the radius of a contour, (h, stride) from (h + 2 radius, stride)."""
    # The disk is a stack of horizontal runs, the longer ones grown from the shorter ones. Rows lie
    # end to end: a run that leaves its row ends in the margin, which is as wide as the radius.
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
