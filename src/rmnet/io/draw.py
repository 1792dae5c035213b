"""Objects in colour over a frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from rmnet.errors import ConfigError, FrameError, MaskError
from rmnet.io.frames import FrameLike, as_frame
from rmnet.io.label_map import checked_labels
from rmnet.io.label_png import davis_palette

_THICK_FROM = 720  # px of the shorter side: from here on lines are 2 px wide, below 1 px


def overlay(
    frame: FrameLike,
    labels: NDArray[np.integer],
    *,
    alpha: float = 0.5,
    boxes: Mapping[int, Sequence[int]] | None = None,
    index: int | None = None,
) -> NDArray[np.uint8]:
    """Colour the objects of a frame by their ids, in the colours of DAVIS.

    The rim of each object, inside it, is opaque; 1 or 2 px.

    Args:
        frame: Any form of frame that `as_frame` accepts.
        labels: (H, W) integer ids, 0 background. Ids above 255 share the colours of 1 to 255.
        alpha: Opacity of the colours, in [0, 1].
        boxes: Id -> (x0, y0, x1, y1) px, half-open. Outlined in the id's colour and clipped to the
            frame; empty boxes are left out.
        index: Number of the frame in its video, named in errors.

    Returns:
        (H, W, 3) uint8 RGB; a new array.

    Raises:
        FrameError: not a frame, or not of the size of the labels.
        MaskError: labels that are not (H, W) integers of at least 0.
        ConfigError: `alpha` outside [0, 1].
    """
    picture = np.array(as_frame(frame, index=index), order="C")  # a copy to draw into
    labels = checked_labels(labels)
    if labels.shape != picture.shape[:2]:
        name = "the frame" if index is None else f"frame {index}"
        raise FrameError(
            f"{name} is {picture.shape[:2]}, its labels {labels.shape}; accepted: the frame that "
            "was tracked, at its own size"
        )
    if not 0 <= alpha <= 1:
        raise ConfigError(f"alpha is {alpha!r}; accepted: a number in [0, 1]")

    # Flat indices of the object pixels: most of a frame is background.
    flat_picture, flat_labels = picture.reshape(-1, 3), labels.ravel()
    inside = np.flatnonzero(flat_labels)
    colours = _colours(flat_labels[inside])
    mixed = np.float32(1 - alpha) * flat_picture[inside] + np.float32(alpha) * colours
    flat_picture[inside] = (mixed + np.float32(0.5)).astype(np.uint8)
    width = 1 if min(labels.shape) < _THICK_FROM else 2
    rim = np.flatnonzero(_rim(labels, width))
    flat_picture[rim] = _colours(flat_labels[rim])
    for object_id, box in (boxes or {}).items():
        _draw_box(picture, [int(edge) for edge in box], _colours(np.array(object_id)), width)
    return picture


def _colours(ids: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Return the colours (..., 3) of ids from 1; 256 is drawn like 1, not black like 0."""
    if ids.size and ids.min() < 0:
        raise MaskError(f"labels hold the id {ids.min()}; accepted: 0 for background, ids above")
    return davis_palette()[1 + (ids.astype(np.int64) - 1) % 255]


def _rim(labels: NDArray[np.integer], width: int) -> NDArray[np.bool_]:
    """Return the object pixels (H, W) at most `width` steps along an axis from another label."""
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
    """Draw the pixels of the box that are within `width` of its edge into `picture`."""
    x0, y0, x1, y1 = box
    outer = picture[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)]
    rows = slice(max(y0 + width, 0), max(y1 - width, 0))
    columns = slice(max(x0 + width, 0), max(x1 - width, 0))
    inside = picture[rows, columns].copy()
    outer[:] = colour
    picture[rows, columns] = inside
