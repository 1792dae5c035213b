"""Masks in the forms of COCO: run lengths and polygons."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rmnet.errors import MaskError, MissingDependencyError, shown

_MAX_PIXELS = 2**27  # 16 times 4K; run lengths of a few bytes can claim any size
_RLE_ACCEPTED = (
    'accepted: {"size": [height, width], "counts": ...}, with counts as text, bytes or a list'
)


def is_rle(mask: object) -> bool:
    """Return whether a value looks like COCO run lengths."""
    return isinstance(mask, Mapping) and "counts" in mask


def is_polygons(mask: object) -> bool:
    """Return whether a value looks like COCO polygons: a list of lists of numbers."""
    if not isinstance(mask, list | tuple) or not mask:
        return False
    return all(
        isinstance(one, list | tuple | np.ndarray) and np.ndim(one) == 1 for one in mask
    ) and all(isinstance(number, Real) for one in mask for number in one)


def needs_size(mask: object) -> bool:
    """Return whether a mask cannot be parsed without the size of its frame."""
    if isinstance(mask, Mapping) and not is_rle(mask):
        return any(is_polygons(layer) for layer in mask.values())
    return is_polygons(mask)


def decode_rle(rle: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Decode COCO run lengths into (H, W) bool.

    pycocotools returns uninitialised memory for counts that are too short, and reads beyond those
    that end in the middle of a number, so that counts from a file would have to be decoded here
    anyway to be checked.
    """
    size, counts = rle.get("size"), rle["counts"]
    sides = list(size) if isinstance(size, Sequence | np.ndarray) else []
    is_size = len(sides) == 2 and all(isinstance(i, int | np.integer) and i > 0 for i in sides)
    if not is_size or int(sides[0]) * int(sides[1]) > _MAX_PIXELS:
        raise MaskError(
            f"the run lengths have the size {shown(size)}; {_RLE_ACCEPTED}, and at most "
            f"{_MAX_PIXELS} pixels"
        )
    height, width = (int(side) for side in sides)
    if isinstance(counts, str | bytes):
        runs = _uncompressed(counts)
    elif isinstance(counts, Sequence | np.ndarray):
        runs = list(counts)
    else:
        raise MaskError(f"the run lengths have counts of {type(counts).__name__}; {_RLE_ACCEPTED}")
    if not all(isinstance(run, int | np.integer) and 0 <= run <= height * width for run in runs):
        raise MaskError(f"the run lengths hold other than numbers of pixels; {_RLE_ACCEPTED}")
    if sum(runs) != height * width:
        raise MaskError(
            f"the run lengths cover {sum(runs)} pixels of {height} x {width}; accepted: as many as "
            f"the size says, height first"
        )
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, np.array(runs, np.int64)).reshape(width, height).T


def decode_polygons(
    polygons: Sequence[Sequence[float]], size: tuple[int, int] | None
) -> NDArray[np.bool_]:
    """Fill COCO polygons, as pycocotools does, in (H, W) bool.

    Args:
        polygons: Corners of each polygon, [x0, y0, x1, y1, ...], px; at least three.
        size: Height and width of the frame.
    """
    if size is None:
        raise MaskError(
            "the mask is a list of polygons, which have no size; accepted: together with the "
            "frame's size. Write rmnet.io.parse_mask(polygons, size=(height, width))"
        )
    height, width = size
    if [len(one) for one in polygons] == [width] * height:
        raise MaskError(
            "the mask is a list of lists of the frame's size; accepted: arrays. Write "
            "np.asarray(mask), if it is a label map"
        )
    for corners in polygons:
        if len(corners) < 6 or len(corners) % 2:
            raise MaskError(
                f"a polygon has {len(corners)} numbers; accepted: [x0, y0, x1, y1, ...] of at "
                "least three corners. Write np.asarray(mask), if it is a label map, not polygons"
            )
        for number, side in zip(corners, (width, height) * (len(corners) // 2), strict=True):
            if not (math.isfinite(number) and -side <= number <= 2 * side):
                raise MaskError(
                    f"a polygon has a corner at {shown(number)}, far outside of the frame; "
                    f"accepted: pixels, in a frame {width} wide and {height} high"
                )
    try:
        from pycocotools import mask as coco
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "polygons need pycocotools, which is not installed. Write pip install 'rmnet[coco]'"
        ) from error
    lists: Any = [[float(number) for number in corners] for corners in polygons]
    encoded: Any = coco.merge(coco.frPyObjects(lists, height, width))
    return decode_rle({"size": [height, width], "counts": encoded["counts"]})


def _uncompressed(counts: str | bytes) -> list[int]:
    """Return the runs in COCO's text: 5 bits a character, the sixth says that more follow."""
    codes = counts.encode("ascii", "replace") if isinstance(counts, str) else bytes(counts)
    runs: list[int] = []
    value = shift = 0
    for code in codes:
        digit = code - 48
        if not 0 <= digit < 64 or shift > 60:
            raise MaskError(f"the run lengths hold the character {chr(code)!r}; {_RLE_ACCEPTED}")
        value |= (digit & 31) << shift
        shift += 5
        if digit & 32:
            continue
        if digit & 16:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    if shift:
        raise MaskError(f"the run lengths end in the middle of a number; {_RLE_ACCEPTED}")
    return runs
