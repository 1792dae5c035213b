"""Boxes and clicks at the door: every usual mistake is refused with what to write."""

import numpy as np
import pytest
import torch

from rmnet.errors import MaskError
from rmnet.prompting import parse_prompts

SIZE = (48, 80)  # H, W


def fitted(boxes=None, points=None):
    return parse_prompts(boxes, points).fitted(SIZE)


@pytest.mark.parametrize(
    "box",
    [(10, 5, 30, 25), [10.0, 5, 30, 25], np.array([10, 5, 30, 25]), torch.tensor([10, 5, 30, 25])],
)
def test_a_box_is_any_row_of_four_numbers(box):
    assert fitted({3: box}).boxes == {3: (10, 5, 30, 25)}


@pytest.mark.parametrize(
    "clicks",
    [
        [(12, 9, True)],
        [(12, 9)],
        (12, 9),
        (12, 9, True),
        np.array([[12, 9, 1]]),
        torch.tensor([[12.0, 9.0, 1.0]]),
        [np.array([12, 9])],
    ],
)
def test_clicks_are_pairs_or_triples(clicks):
    assert fitted(points={3: clicks}).points == {3: ((12, 9, True),)}


def test_a_click_beside_the_object_keeps_its_sign():
    points = fitted(points={1: [(12, 9, True), (40, 9, False)]}).points
    assert points == {1: ((12, 9, True), (40, 9, False))}


def test_a_box_just_over_the_edge_is_clipped():
    assert fitted({1: (-2, 5, 82, 49)}).boxes == {1: (0, 5, 80, 48)}


def test_prompts_scale_to_a_frame_of_another_size():
    prompts = fitted({1: (10, 5, 30, 25)}, {1: [(12, 9, True)]}).scaled(0.5, 2)
    assert prompts.boxes == {1: (5, 10, 15, 50)}
    assert prompts.points == {1: ((6, 18, True),)}


@pytest.mark.parametrize(
    ("boxes", "reason"),
    [
        ([(10, 5, 30, 25)], r"boxes is a list.*boxes=\{1: \(40"),
        ({1: (10, 5, 30)}, r"is \(10, 5, 30\); accepted: \(x0, y0, x1, y1\) in pixels"),
        ({1: "10,5,30,25"}, "accepted: \\(x0"),
        ({1: (10, 5, 10**400, 25)}, "accepted: \\(x0"),
        ({1: torch.zeros(4, device="meta")}, "accepted: \\(x0"),
        ({1: (10, 5, float("nan"), 25)}, "accepted: \\(x0"),
        ({0: (10, 5, 30, 25)}, "0 is not an object id"),
        (
            {1: (0.1, 0.1, 0.5, 0.6)},
            r"smaller than a pixel.*\(0.1 \* width, 0.1 \* height, 0.5 \* width",
        ),
        ({1: (30, 25, 10, 5)}, r"empty or reversed.*\(30, 25, 40, 30\)"),
        ({1: (30, 25, 30, 40)}, "empty or reversed"),
        ({1: (100, 5, 120, 25)}, "80 px wide and 48 px high"),
        ({1: (10, 5, 200, 40)}, "80 px wide and 48 px high"),
        ({1: (-30, 5, 20, 40)}, "does not lie in the frame"),
    ],
)
def test_a_wrong_box_is_refused_with_what_to_write(boxes, reason):
    with pytest.raises(MaskError, match=reason):
        fitted(boxes)


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        ([(12, 9, True)], r"points is a list.*points=\{1: \[\(120, 90, True\)\]\}"),
        ({1: []}, "accepted: a list of"),
        ({1: [(12,)]}, "accepted: a list of"),
        ({1: torch.zeros(1, 2, device="meta")}, "accepted: a list of"),
        ({1: [torch.zeros(2, device="meta")]}, "accepted: a list of"),
        ({1: [(12, 10**400)]}, "accepted: a list of"),
        ({1: [(12, 9, 2)]}, "accepted: a list of"),
        (
            {1: [(0.25, 0.5, True)]},
            r"fractions of the frame.*\(0.25 \* width, 0.5 \* height, True\)",
        ),
        ({1: [(80, 9, True)]}, "outside of the frame.*x from 0 to 79, y from 0 to 47"),
        ({1: [(12, -1, True)]}, "outside of the frame"),
        ({1: [(12, 9, True), (12, 9, False)]}, "one inside and one outside"),
    ],
)
def test_wrong_clicks_are_refused_with_what_to_write(points, reason):
    with pytest.raises(MaskError, match=reason):
        fitted(points=points)


def test_a_click_on_the_object_outside_of_its_box_is_refused():
    with pytest.raises(MaskError, match="outside of its box"):
        fitted({1: (10, 5, 30, 25)}, {1: [(40, 9, True)]})
    assert fitted({1: (10, 5, 30, 25)}, {1: [(40, 9, False)]}).object_ids == (1,)
