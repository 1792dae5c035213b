"""Boxes, compared with a loop over pixels."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
from rmnet.geometry.regions import (
    cells_in_boxes,
    mask_boxes,
    pixel_to_cell_boxes,
    shift_boxes,
    union_boxes,
)

OPTIONS = {"threshold": 0.5, "min_pixels": 3, "margin": 2}


@settings(max_examples=150, deadline=None)
@given(
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    density=st.sampled_from([0.0, 0.02, 0.1, 0.5, 1.0]),
    seed=st.integers(0, 999),
    margin=st.integers(0, 5),
    lost=st.sampled_from(["frame", "empty"]),
)
def test_boxes_match_a_loop(height, width, density, seed, margin, lost):
    rng = np.random.default_rng(seed)
    masks = (rng.random((3, height, width)) < density) * rng.random((3, height, width))
    masks = torch.from_numpy(masks.astype(np.float32))
    boxes = mask_boxes(masks, threshold=0.5, min_pixels=3, margin=margin, lost=lost)
    want = [reference.box_of(mask.numpy(), 0.5, 3, margin, lost) for mask in masks]
    assert boxes.dtype == torch.int32
    assert boxes.tolist() == [list(box) for box in want]


def test_a_pixel_at_the_threshold_belongs_to_the_object():
    masks = torch.zeros((1, 8, 8))
    masks[0, 2, 2:5] = 0.5
    assert mask_boxes(masks, **OPTIONS, lost="empty").tolist() == [[0, 0, 7, 5]]
    masks[0, 2, 2] = 0.4999
    assert mask_boxes(masks, **OPTIONS, lost="empty").tolist() == [[0, 0, 0, 0]]


def test_margins_may_differ_by_object():
    masks = torch.zeros((2, 20, 20))
    masks[:, 8:12, 8:12] = 1
    boxes = mask_boxes(
        masks, threshold=0.5, min_pixels=3, margin=torch.tensor([0, 3]), lost="frame"
    )
    assert boxes.tolist() == [[8, 8, 12, 12], [5, 5, 15, 15]]


@given(st.tuples(*[st.integers(0, 100)] * 4))
def test_cells_are_those_whose_first_pixel_is_in_the_box(corners):
    x0, x1 = sorted(corners[:2])
    y0, y1 = sorted(corners[2:])
    cells = pixel_to_cell_boxes(torch.tensor([[x0, y0, x1, y1]], dtype=torch.int32))
    got = cells_in_boxes(cells, 8, 8)[0]
    want = [[x0 <= 16 * i < x1 and y0 <= 16 * j < y1 for i in range(8)] for j in range(8)]
    assert got.tolist() == want


def test_a_box_between_two_cells_is_empty():
    assert pixel_to_cell_boxes(torch.tensor([[17, 17, 31, 31]])).tolist() == [[0, 0, 0, 0]]


def test_padded_frame_never_searches_its_first_column():
    # 854 px are padded to 864, 5 px of it on the left: the padded frame's pixel 0 is padding.
    whole = shift_boxes(torch.tensor([[0, 0, 854, 480]]), 5, 0)
    assert pixel_to_cell_boxes(whole).tolist() == [[1, 0, 54, 30]]


def test_an_empty_box_stays_empty_when_shifted():
    assert shift_boxes(torch.tensor([[0, 0, 0, 0]]), 3, 4).tolist() == [[0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("a", "b", "want"),
    [
        ((1, 2, 3, 4), (2, 0, 5, 3), (1, 0, 5, 4)),
        ((1, 2, 3, 4), (0, 0, 0, 0), (1, 2, 3, 4)),
        ((0, 0, 0, 0), (1, 2, 3, 4), (1, 2, 3, 4)),
        ((0, 0, 0, 0), (0, 0, 0, 0), (0, 0, 0, 0)),
    ],
)
def test_union_contains_both_and_an_empty_box_adds_nothing(a, b, want):
    assert union_boxes(torch.tensor([a]), torch.tensor([b])).tolist() == [list(want)]
