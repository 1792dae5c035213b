"""Masks as COCO run lengths, for files and for the COCO tools."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from rmnet.errors import MaskError, MissingDependencyError, shown

_MAX_PIXELS = 2**28  # of a mask; no file of a few bytes shall fill the memory
_LARGEST_SIDE = 2**62
_MAX_DIGITS = 7  # of a run length, base 32: enough for _MAX_PIXELS with a sign


def encode_rle(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Compress one mask; needs pycocotools.

    Args:
        mask: (H, W) bool.

    Returns:
        `{"size": [H, W], "counts": str}`, ready for JSON.

    Raises:
        MaskError: not (H, W) bool.
        MissingDependencyError: pycocotools is not installed.
    """
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.dtype != np.bool_:
        raise MaskError(
            f"the mask is {mask.dtype} of shape {mask.shape}; accepted: bool (H, W). "
            "Write labels == object_id"
        )
    try:
        from pycocotools import mask as coco
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "COCO run lengths need pycocotools, which is not installed. "
            "Write pip install 'rmnet[coco]'"
        ) from error
    ones = mask.view(np.uint8) != 0  # as bytes: Pillow makes bool of 255 out of mode 1
    encoded = coco.encode(np.asfortranarray(ones.view(np.uint8)))
    return {"size": list(mask.shape), "counts": cast("bytes", encoded["counts"]).decode("ascii")}


def decode_rle(rle: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Expand what `encode_rle` or a COCO tool compressed; needs no package.

    pycocotools is not used here: for counts that end early it returns memory it never wrote.

    Args:
        rle: `{"size": [H, W], "counts": str or bytes}`.

    Returns:
        (H, W) bool.

    Raises:
        MaskError: not of that form, or the counts do not fill the size.
    """
    try:
        height, width = (operator.index(length) for length in rle["size"])
        text = rle["counts"]
        if not isinstance(text, str | bytes | bytearray):  # bytes(10**10) would be 10 GB
            raise TypeError(f"counts is a {type(text).__name__}")
        runs = _run_lengths(text.encode("ascii") if isinstance(text, str) else bytes(text))
        if max(abs(height), abs(width)) > _LARGEST_SIDE:  # too long to be printed below
            raise ValueError("the size is out of range")
    except (KeyError, TypeError, ValueError) as error:
        raise MaskError(
            f"the run lengths cannot be read: {shown(error)}; accepted: "
            '{"size": [H, W], "counts": str}, as COCO compresses them'
        ) from error
    if min(height, width) < 0 or height * width > _MAX_PIXELS or sum(runs) != height * width:
        raise MaskError(
            f"the run lengths fill {sum(runs)} pixels of a mask of {height} by {width}; accepted: "
            f"all of them, up to {_MAX_PIXELS}"
        )
    pixels = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return np.ascontiguousarray(pixels.reshape(width, height).T)  # runs go down the columns


def _run_lengths(text: bytes) -> list[int]:
    """Lengths of the runs, by turns of 0 and of 1.

    Each is a signed number in base 32, least digit first, six bits a character from "0" on, of
    which the highest says that more follow. From the fourth on it is the difference to the last
    but one. Source: pycocotools, maskApi.c, rleFrString.
    """
    runs: list[int] = []
    value, digits = 0, 0
    for character in text:
        code = character - 48
        if not 0 <= code < 64 or digits == _MAX_DIGITS:
            raise ValueError(f"character {character} at run {len(runs)}")
        value |= (code & 31) << 5 * digits
        digits += 1
        if code & 32:
            continue
        if code & 16:
            value -= 1 << 5 * digits
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        if runs[-1] < 0:
            raise ValueError(f"run {len(runs) - 1} is negative")
        value, digits = 0, 0
    if digits:
        raise ValueError("the last run is cut off")
    return runs
