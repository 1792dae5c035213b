"""A line a frame of an unfinished `rmnet track`: what is in no mask, checked when it is read."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from rmnet.results import FrameSegmentation, Status

_LARGEST = 2**31 - 1  # of an id or a coordinate
_STATUS = get_args(Status)

Image = list[str | int] | None  # what tells an image file from another: name, bytes, time


@dataclass(frozen=True, slots=True)
class Entry:
    """A frame's line.

    Attributes:
        fields: Of its `FrameSegmentation`; without index, labels and probabilities.
        labels: CRC-32 of its labels, to tell whether the mask is still the one that was written.
        image: Of the image file that it was found in, if it is of one.
    """

    fields: Mapping[str, Any]
    labels: int
    image: Image

    @classmethod
    def of(cls, result: FrameSegmentation, image: Image) -> Entry:
        """What is to be written of a result."""
        fields = {
            "object_ids": result.object_ids,
            "scores": result.scores.tolist(),
            "status": result.status,
            "boxes": result.boxes.tolist(),
            "regions": result.regions.tolist(),
            "seconds": result.seconds,
            "skipped": result.skipped,
        }
        return cls(fields, _checksum(result.labels), image)

    def to_json(self) -> str:
        """One line, without its end."""
        return json.dumps({**self.fields, "labels": self.labels, "image": self.image})

    @classmethod
    def from_json(cls, line: bytes) -> Entry:
        """Read a line back.

        Raises:
            ValueError: it is none that `to_json` makes.
        """
        row = json.loads(line)
        names = {*_CHECKS, "labels", "image"}
        if not isinstance(row, dict) or row.keys() != names:
            raise ValueError(f"a line does not hold {sorted(names)}")
        if not _is_integer(row["labels"], 2**32 - 1):
            raise ValueError("labels")
        fields = {name: row[name] for name in _CHECKS}
        wrong = [name for name, is_right in _CHECKS.items() if not is_right(fields[name])]
        lists = ("object_ids", "scores", "status", "boxes", "regions")
        if wrong or len({len(fields[name]) for name in lists}) > 1:
            raise ValueError(f"{', '.join(wrong) or 'lists of several lengths'}")
        return cls(fields, row["labels"], row["image"])

    def result(self, index: int, labels: NDArray[np.int32]) -> FrameSegmentation:
        """The result, probabilities apart.

        Raises:
            ValueError: `labels` are not those that were found.
        """
        if _checksum(labels) != self.labels:
            raise ValueError("is not as it was written")
        fields = self.fields
        return FrameSegmentation(
            index=index,
            labels=labels,
            object_ids=tuple(fields["object_ids"]),
            scores=np.array(fields["scores"], np.float32),
            status=tuple(fields["status"]),
            boxes=np.array(fields["boxes"], np.int32).reshape(-1, 4),
            regions=np.array(fields["regions"], np.int32).reshape(-1, 4),
            seconds=fields["seconds"],
            skipped=fields["skipped"],
        )


def _checksum(labels: NDArray[np.int32]) -> int:
    return zlib.crc32(np.ascontiguousarray(labels).data)


def _is_integer(value: object, highest: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= highest


def _is_number(value: object) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def _are_ids(value: object) -> bool:
    if not isinstance(value, list) or not all(_is_integer(i, _LARGEST) and i > 0 for i in value):
        return False
    return len(set(value)) == len(value)


def _are_boxes(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(box, list) and len(box) == 4 and all(_is_integer(x, _LARGEST) for x in box)
        for box in value
    )


_CHECKS = {
    "object_ids": _are_ids,
    "scores": lambda value: isinstance(value, list) and all(map(_is_number, value)),
    "status": lambda value: isinstance(value, list) and all(x in _STATUS for x in value),
    "boxes": _are_boxes,
    "regions": _are_boxes,
    "seconds": lambda value: value is None or _is_number(value),
    "skipped": lambda value: value is None or isinstance(value, str),
}
