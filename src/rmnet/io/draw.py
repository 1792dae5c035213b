"""Objects in colour over the frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from rmnet.errors import ConfigError, MaskError
from rmnet.io.frames import as_frame
from rmnet.io.label_png import davis_palette

_THICK_FROM = 720  # px of the shorter side; from here on lines are 2 px wide, below 1 px


def overlay(
    frame: object,
    labels: NDArray[np.integer],
    *,
    alpha: float = 0.5,
    contour: bool = True,
    boxes: Mapping[int, Sequence[int]] | None = None,
) -> NDArray[np.uint8]:
    """Colour the objects of a frame, each by its id, as DAVIS does.

    Args:
        frame: As `rmnet.io.frames.as_frame` takes it.
        labels: (H, W) integer ids, 0 background. Ids above 255 share the colours of 1 to 255.
        alpha: Opacity of the colours, in [0, 1].
        contour: Whether the rim of each object, inside it, is drawn opaque; 1 or 2 px.
        boxes: Id -> (x0, y0, x1, y1) px, half-open, drawn as a frame in the id's colour and
            cut off at the borders; empty ones are left out.

    Returns:
        (H, W, 3) uint8 RGB; a new array.

    Raises:
        FrameError: not a frame.
        MaskError: labels of another size, or not integers of at least 0.
        ConfigError: `alpha` outside of [0, 1].
    """
    picture = np.array(as_frame(frame), order="C")  # a copy to draw into
    labels = np.asarray(labels)
    if labels.shape != picture.shape[:2] or labels.dtype.kind not in "iu":
        raise MaskError(
            f"labels are {labels.dtype} of shape {labels.shape}; accepted: integers of shape "
            f"{picture.shape[:2]}, as the frame. Write labels.astype(np.int32), if they are bool"
        )
    if not 0 <= alpha <= 1:
        raise ConfigError(f"alpha is {alpha!r}; accepted: a number in [0, 1]")

    flat_picture, flat_labels = picture.reshape(-1, 3), labels.ravel()
    inside = np.flatnonzero(flat_labels)
    colours = _colours(flat_labels[inside])
    mixed = np.float32(1 - alpha) * flat_picture[inside] + np.float32(alpha) * colours
    flat_picture[inside] = (mixed + np.float32(0.5)).astype(np.uint8)
    width = 1 if min(labels.shape) < _THICK_FROM else 2
    if contour:
        rim = np.flatnonzero(_rim(labels, width))
        flat_picture[rim] = _colours(flat_labels[rim])
    for object_id, box in (boxes or {}).items():
        _draw_box(picture, [int(edge) for edge in box], _colours(np.array(object_id)), width)
    return picture


def _colours(ids: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Colours (..., 3) of ids from 1 on; 256 is drawn as 1, since black would not be seen."""
    if ids.size and ids.min() < 0:
        raise MaskError(f"labels hold the id {ids.min()}; accepted: 0 for background, ids above")
    return davis_palette()[1 + (ids.astype(np.int64) - 1) % 255]


def _rim(labels: NDArray[np.integer], width: int) -> NDArray[np.bool_]:
    """Pixels (H, W) of an object at most `width` steps along an axis from another label."""
    rim = np.zeros(labels.shape, np.bool_)
    for step in range(1, width + 1):
        below = labels[step:] != labels[:-step]
        right = labels[:, step:] != labels[:, :-step]
        rim[step:] |= below
        rim[:-step] |= below
        rim[:, step:] |= right
        rim[:, :-step] |= right
    return rim & (labels != 0)


def _draw_box(
    picture: NDArray[np.uint8], box: Sequence[int], colour: NDArray[np.uint8], width: int
) -> None:
    """Draw into `picture` the pixels of the box that are within `width` of its edge."""
    x0, y0, x1, y1 = box
    strips = (
        (x0, y0, x1, y0 + width),
        (x0, y1 - width, x1, y1),
        (x0, y0, x0 + width, y1),
        (x1 - width, y0, x1, y1),
    )
    for left, top, right, bottom in strips:
        rows = slice(max(top, y0, 0), max(min(bottom, y1), 0))
        columns = slice(max(left, x0, 0), max(min(right, x1), 0))
        picture[rows, columns] = colour
