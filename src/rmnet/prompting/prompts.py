"""Boxes and clicks at the door: checked, and told from coordinates of another kind."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from rmnet.errors import MaskError, shown
from rmnet.io import checked_ids

Box: TypeAlias = tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels, half-open
Point: TypeAlias = tuple[float, float, bool]  # x and y in pixels; whether it is on the object
# What a caller may write for the two: any sequence of numbers, an array or a tensor.
BoxLike: TypeAlias = Sequence[float] | NDArray[Any] | torch.Tensor
PointsLike: TypeAlias = Sequence[Any] | NDArray[Any] | torch.Tensor

_OVER_THE_EDGE = 0.05  # of the frame; a box may reach so far beyond it, and is clipped
_BOX = "(x0, y0, x1, y1) in pixels, the upper left and the lower right corner"
_POINT = "(x, y, inside) in pixels, inside True on the object and False beside it"


@dataclass(frozen=True, slots=True)
class Prompts:
    """Boxes and clicks of one frame; made by `parse_prompts`.

    Attributes:
        boxes: Object id -> box.
        points: Object id -> clicks, at least one.
    """

    boxes: Mapping[int, Box] = field(default_factory=dict)
    points: Mapping[int, tuple[Point, ...]] = field(default_factory=dict)

    @property
    def object_ids(self) -> tuple[int, ...]:
        """Ids of the objects, ascending."""
        return tuple(sorted({*self.boxes, *self.points}))

    def fitted(self, size: tuple[int, int]) -> Prompts:
        """Return the prompts for a frame of (H, W) pixels, boxes clipped at its edges.

        Raises:
            MaskError: a box or a click outside of the frame.
        """
        height, width = size
        for object_id, points in self.points.items():
            for x, y, _ in points:
                if not (0 <= x < width and 0 <= y < height):
                    raise MaskError(
                        f"the click ({x:g}, {y:g}) of object {object_id} is outside of the frame; "
                        f"accepted: x from 0 to {width - 1}, y from 0 to {height - 1}. Write (x, y) "
                        "in pixels of this frame, x first"
                    )
        return Prompts({i: _fitted_box(box, i, size) for i, box in self.boxes.items()}, self.points)

    def scaled(self, scale_x: float, scale_y: float) -> Prompts:
        """Return the prompts for a frame of another size."""
        boxes = {
            i: (x0 * scale_x, y0 * scale_y, x1 * scale_x, y1 * scale_y)
            for i, (x0, y0, x1, y1) in self.boxes.items()
        }
        points = {
            i: tuple((x * scale_x, y * scale_y, inside) for x, y, inside in clicks)
            for i, clicks in self.points.items()
        }
        return Prompts(boxes, points)


def parse_prompts(
    boxes: Mapping[int, BoxLike] | None, points: Mapping[int, PointsLike] | None
) -> Prompts:
    """Check boxes and clicks as far as the frame is not needed; see `Prompts.fitted`.

    Args:
        boxes: Object id -> (x0, y0, x1, y1) px, half-open.
        points: Object id -> clicks (x, y, inside) or (x, y), px; or a single click.

    Raises:
        MaskError: another type; ids below 1; not finite; an empty or reversed box; fractions of
            the frame instead of pixels; clicks that contradict each other or the box.
    """
    for name, given, accepted in (
        ("boxes", boxes, f"{{id: {_BOX}}}"),
        ("points", points, f"{{id: [{_POINT}]}}"),
    ):
        if given is not None and not isinstance(given, Mapping):
            example = "{1: (40, 30, 200, 180)}" if name == "boxes" else "{1: [(120, 90, True)]}"
            raise MaskError(
                f"{name} is a {type(given).__name__}; accepted: {accepted}. Write {name}={example}"
            )
    parsed_boxes = {
        i: _parse_box(box, i) for i, box in zip(_ids(boxes), (boxes or {}).values(), strict=True)
    }
    parsed_points = {
        i: _parse_points(clicks, i)
        for i, clicks in zip(_ids(points), (points or {}).values(), strict=True)
    }
    for object_id, clicks in parsed_points.items():
        _check_clicks(object_id, clicks, parsed_boxes.get(object_id))
    return Prompts(parsed_boxes, parsed_points)


def _ids(given: Mapping[int, Any] | None) -> tuple[int, ...]:
    return checked_ids(given) if given else ()


def _listed(given: object) -> object:
    """Return an array or a tensor as a list, anything else as it is; None for one without data."""
    if not isinstance(given, np.ndarray | torch.Tensor):
        return given
    try:
        return given.tolist()
    except (RuntimeError, TypeError):  # a tensor that is sparse or on the meta device
        return None


def _numbers(given: object) -> list[float] | None:
    """Return a row of finite numbers as floats; None for anything else."""
    given = _listed(given)
    if not isinstance(given, Sequence) or isinstance(given, str | bytes):
        return None
    try:
        numbers = [float(number) for number in given]
    except (TypeError, ValueError, OverflowError):
        return None
    return numbers if all(map(math.isfinite, numbers)) else None


def _parse_box(given: object, object_id: int) -> Box:
    numbers = _numbers(given)
    if numbers is None or len(numbers) != 4:
        raise MaskError(
            f"the box of object {object_id} is {shown(given)}; accepted: {_BOX}. "
            f"Write boxes={{{object_id}: (40, 30, 200, 180)}}"
        )
    x0, y0, x1, y1 = numbers
    box = f"the box ({x0:g}, {y0:g}, {x1:g}, {y1:g}) of object {object_id}"
    if max(numbers) <= 1 and min(numbers) >= 0:
        raise MaskError(
            f"{box} is smaller than a pixel; accepted: {_BOX}. Write ({x0:g} * width, {y0:g} * "
            f"height, {x1:g} * width, {y1:g} * height), if it is in fractions of the frame"
        )
    if x1 <= x0 or y1 <= y0:
        raise MaskError(
            f"{box} is empty or reversed; accepted: {_BOX}, x0 < x1 and y0 < y1. Write "
            f"({x0:g}, {y0:g}, {x0 + x1:g}, {y0 + y1:g}), if it holds a corner and a size"
        )
    return x0, y0, x1, y1


def _fitted_box(box: Box, object_id: int, size: tuple[int, int]) -> Box:
    height, width = size
    x0, y0, x1, y1 = box
    margin_x, margin_y = _OVER_THE_EDGE * width, _OVER_THE_EDGE * height
    clipped = max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))
    if (
        min(x0 + margin_x, y0 + margin_y) < 0
        or x1 > width + margin_x
        or y1 > height + margin_y
        or clipped[2] <= clipped[0]
        or clipped[3] <= clipped[1]
    ):
        raise MaskError(
            f"the box ({x0:g}, {y0:g}, {x1:g}, {y1:g}) of object {object_id} does not lie in the "
            f"frame, which is {width} px wide and {height} px high; accepted: {_BOX} of this frame. "
            "Write it in pixels of the video's own size, x first"
        )
    return clipped


def _parse_points(given: object, object_id: int) -> tuple[Point, ...]:
    came, given = given, _listed(given)
    if isinstance(given, Sequence) and not isinstance(given, str | bytes):
        is_single = len(given) > 0 and not isinstance(
            given[0], Sequence | np.ndarray | torch.Tensor
        )
        rows = [_numbers(row) for row in ([given] if is_single else given)]
        if rows and all(row is not None and len(row) in (2, 3) for row in rows):
            numbers = [row for row in rows if row is not None]
            if all(row[2:] in ([], [0.0], [1.0]) for row in numbers):
                points = tuple((row[0], row[1], row[2:] != [0.0]) for row in numbers)
                coordinates = [value for x, y, _ in points for value in (x, y)]
                if max(coordinates) <= 1 and not all(map(float.is_integer, coordinates)):
                    x, y, inside = points[0]
                    raise MaskError(
                        f"the clicks {shown(given)} of object {object_id} are fractions of the "
                        f"frame; accepted: {_POINT}. Write ({x:g} * width, {y:g} * height, "
                        f"{inside}) for the first"
                    )
                return points
    raise MaskError(
        f"the clicks of object {object_id} are {shown(came)}; accepted: a list of {_POINT}. "
        f"Write points={{{object_id}: [(120, 90, True)]}}"
    )


def _check_clicks(object_id: int, clicks: tuple[Point, ...], box: Box | None) -> None:
    """Refuse clicks that say two things of one pixel, or that lie on the object but not in its box."""
    said: dict[tuple[int, int], bool] = {}
    for x, y, inside in clicks:
        if said.setdefault((int(x), int(y)), inside) != inside:
            raise MaskError(
                f"object {object_id} has two clicks at ({x:g}, {y:g}), one inside and one outside; "
                "accepted: one of the two. Leave one out"
            )
        if inside and box and not (box[0] <= x <= box[2] and box[1] <= y <= box[3]):
            raise MaskError(
                f"the click ({x:g}, {y:g}) on object {object_id} lies outside of its box; accepted: "
                "clicks inside of the box. Write a larger box, or leave one of the two out"
            )
