"""From a box and clicks to a mask, in SAM 2's forms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from rmnet.compat.sam2.prompts import Prompt
from rmnet.compat.sam2.state import InferenceState
from rmnet.errors import ConfigError, MaskError, shown
from rmnet.io import parse_mask
from rmnet.prompting import Box, Point, Prompter, parse_prompts


class GivenPoints(NamedTuple):
    """The arguments of `add_new_points_or_box` that describe an object."""

    points: Any
    labels: Any
    box: Any
    clear_old_points: bool
    normalize_coords: bool


def make_prompt(
    state: InferenceState, prompter: Prompter, frame: int, number: int, given: GivenPoints
) -> Prompt:
    """Make a mask of an object; the state stays as it is.

    Raises:
        ConfigError: arguments that do not go together.
        MaskError: a box or clicks that are not accepted, or of which the prompter makes nothing.
        VideoError: the frame cannot be decoded.
    """
    _check_together(given)
    height, width = state.frames.size
    scale = (1.0, 1.0) if given.normalize_coords else (float(width), float(height))
    points = () if given.points is None else _as_points(given.points, given.labels, scale)
    box = None if given.box is None else _as_box(given.box, scale)
    old = state.prompts.get(frame, {}).get(number)
    if old is not None and not given.clear_old_points:
        points, box = (*old.points, *points), old.box
    prompts = parse_prompts(
        {number: box} if box else None, {number: points} if points else None
    ).fitted((height, width))
    # A box alone starts anew; clicks correct what is there.
    present = state.present_mask(frame, number) if points else None
    masks = {} if present is None or not present.any() else {number: present}
    found = prompter(state.frames.read(frame), prompts.boxes, prompts.points, masks)
    return Prompt(_found_mask(found, number, (height, width)), box, points)


def _check_together(given: GivenPoints) -> None:
    if (given.points is None) != (given.labels is None):
        names = ("points", "labels") if given.labels is None else ("labels", "points")
        raise ConfigError(f"{names[0]} came without {names[1]}; accepted: both or neither")
    if given.points is None and given.box is None:
        raise ConfigError(
            "there is no prompt; accepted: a box, or points with labels. Write "
            "box=(40, 30, 200, 180), or points=[[120, 90]], labels=[1]"
        )
    if given.box is not None and not given.clear_old_points:
        raise ConfigError(
            "box came with clear_old_points=False; accepted: a box that starts anew. Leave "
            "clear_old_points out, and give the old points again with the box"
        )


def _as_box(box: object, scale: tuple[float, float]) -> Box:
    """Turn (x0, y0, x1, y1) of any shape into pixels; `scale` is that of x and y."""
    numbers = _floats("box", box, "four numbers (x0, y0, x1, y1) in pixels").reshape(-1)
    if numbers.size != 4:
        raise MaskError(
            f"box has {numbers.size} numbers; accepted: four, (x0, y0, x1, y1) in pixels. Write one "
            "call for each object"
        )
    x0, y0, x1, y1 = (numbers * (*scale, *scale)).tolist()
    return x0, y0, x1, y1


def _as_points(points: object, labels: object, scale: tuple[float, float]) -> tuple[Point, ...]:
    """Turn coordinates (n, 2) and labels (n,) into clicks in pixels; `scale` is that of x and y."""
    xy = _floats("points", points, "(n, 2), each point (x, y) in pixels")
    kinds = _floats("labels", labels, "(n,), 1 on the object and 0 beside it")
    xy = xy[0] if xy.ndim == 3 and len(xy) == 1 else xy
    kinds = kinds[0] if kinds.ndim == 2 and len(kinds) == 1 else kinds
    if xy.ndim != 2 or xy.shape[1] != 2 or kinds.shape != xy.shape[:1] or not len(xy):
        raise MaskError(
            f"points has the shape {xy.shape} and labels {kinds.shape}; accepted: (n, 2) and (n,). "
            "Write points=[[120, 90]], labels=[1] for a single click"
        )
    others = sorted({kind for kind in kinds.tolist() if kind not in (0, 1)})
    if others:
        raise MaskError(
            f"labels holds {shown(others)}; accepted: 1 on the object and 0 beside it. Write "
            "box=(x0, y0, x1, y1) for the corners 2 and 3"
        )
    return tuple(
        (x, y, kind == 1)
        for (x, y), kind in zip((xy * scale).tolist(), kinds.tolist(), strict=True)
    )


def _found_mask(found: Mapping[int, Any], number: int, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the mask that a prompter made for an object.

    Raises:
        ConfigError: the prompter returned no mask for it.
        MaskError: the mask has no pixels, or another size or type.
    """
    if number not in found:
        raise ConfigError(
            f"the prompter returned masks of {shown(list(found))}; accepted: of object {number}, "
            "which it was asked for"
        )
    mask = parse_mask({number: found[number]}, size=size, allow_empty=True).masks[0].numpy()
    if not mask.any():
        raise MaskError(
            f"the prompter found nothing for object {number}; nothing has changed. Write a box "
            "around the object, or add clicks on it"
        )
    return np.array(mask)


def _floats(name: str, given: object, accepted: str) -> NDArray[np.float64]:
    if isinstance(given, torch.Tensor):
        given = given.detach().cpu().numpy()
    try:
        array = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise MaskError(f"{name} is {shown(given)}; accepted: {accepted}") from error
    if not np.isfinite(array).all():
        raise MaskError(f"{name} is {shown(given)}; accepted: {accepted}, all finite")
    return array
