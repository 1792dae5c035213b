"""Remedies of masks in the forms of COCO."""

from __future__ import annotations

import numpy as np
import pytest

import rmnet.io
from remedies.table import World, row
from rmnet.io import parse_mask

ACCEPTED = 'accepted: {"size": [height, width], "counts": ...}, with counts as text, bytes or a l'
POLYGON = [[10.0, 5.0, 37.0, 5.0, 37.0, 30.0, 10.0, 30.0]]


def accepted_run_lengths() -> None:
    """Parse each form of run lengths that messages call accepted: a column of 2 below 1."""
    for counts in ("12", b"12", [1, 2]):
        parsed = parse_mask({"size": [3, 1], "counts": counts})
        assert parsed.masks[0, :, 0].tolist() == [False, True, True]


def row_of_run_lengths(text: str, counts: object, size: object = (3, 1)) -> None:
    def run(w: World) -> None:
        with w.refused():
            parse_mask({"size": size, "counts": counts})
        accepted_run_lengths()

    row("io/coco_masks.py", text)(run)


row_of_run_lengths("the run lengths have the size {}; " + ACCEPTED, [1, 2], size=[3])
row_of_run_lengths("the run lengths have the size {}; " + ACCEPTED, "12", size=[2**14, 2**14])
row_of_run_lengths("the run lengths have counts of {}; " + ACCEPTED, 3)
row_of_run_lengths("the run lengths hold other than numbers of pixels; " + ACCEPTED, [-1, 4])
row_of_run_lengths("accepted: as many as the size says, height first", [1, 1])
row_of_run_lengths("the run lengths hold the character {}; " + ACCEPTED, "1\t")
row_of_run_lengths("the run lengths end in the middle of a number; " + ACCEPTED, "o")


@row("io/coco_masks.py", "the mask is a list of polygons, which have no size; accepted: together")
def _(w: World) -> None:
    pytest.importorskip("pycocotools")
    with w.refused():
        parse_mask(POLYGON)
    height, width = w.labels.shape
    names = {"rmnet": rmnet, "polygons": POLYGON, "height": height, "width": width}
    assert eval(w.advice("Write (.*)"), names).size == (height, width)


@row("io/coco_masks.py", "the mask is a list of lists of the frame's size; accepted: arrays. Write")
def _(w: World) -> None:
    mask = w.labels.tolist()
    with w.refused():
        parse_mask(mask, size=w.labels.shape)
    line = eval(w.advice("Write (.*), if it"), {"np": np, "mask": mask})
    assert parse_mask(line, size=w.labels.shape).object_ids == (3, 7)


@row("io/coco_masks.py", "a polygon has {} numbers; accepted: [x0, y0, x1, y1, ...] of at least")
def _(w: World) -> None:
    pytest.importorskip("pycocotools")
    mask = [row_of[:5] for row_of in w.labels.tolist()]
    mask[1][2] = 3
    with w.refused():
        parse_mask(mask, size=w.labels.shape)
    line = eval(w.advice("Write (.*), if it"), {"np": np, "mask": mask})
    assert parse_mask(line).object_ids == (3,)
    parse_mask([[10, 5, 37, 5, 37, 30]], size=w.labels.shape)


@row(
    "io/coco_masks.py", "far outside of the frame; accepted: pixels, in a frame {} wide and {} high"
)
def _(w: World) -> None:
    pytest.importorskip("pycocotools")
    with w.refused():
        parse_mask([[10, 5, 1e9, 5, 37, 30]], size=w.labels.shape)
    width, height = int(w.advice(r"frame (\d+) wide")), int(w.advice(r"(\d+) high"))
    assert (height, width) == w.labels.shape
    parse_mask([[0, 0, width, 0, width, height]], size=w.labels.shape)


@row("io/coco_masks.py", "polygons need pycocotools, which is not installed. Write pip install")
def _(w: World) -> None:
    w.without("pycocotools")
    with w.refused():
        parse_mask(POLYGON, size=w.labels.shape)
    w.assert_extra("coco", "pycocotools")
