"""Warping, compared with a loop over pixels."""

import numpy as np
import pytest
import torch

import reference
from rmnet.geometry.warp import backward_warp


@pytest.mark.parametrize("size", [(7, 9), (1, 5), (5, 1), (1, 1)])
@pytest.mark.parametrize("reach", [0.0, 0.5, 3.0, 50.0])
def test_warping_matches_a_loop(size, reach):
    rng = np.random.default_rng(0)
    plane = rng.random(size)
    flow = rng.uniform(-reach, reach, (2, *size))
    if 1 in size:  # along an axis of one pixel there is nowhere to go
        flow[1 if size[0] == 1 else 0] = 0
    if size == (1, 1):
        flow[:] = 0
    moved = backward_warp(torch.from_numpy(plane)[None, None], torch.from_numpy(flow)[None])
    assert moved[0, 0].numpy() == pytest.approx(reference.backward_warp(plane, flow), abs=1e-9)


def test_flow_points_from_the_current_frame_to_the_previous_one():
    previous = torch.zeros((1, 1, 5, 5))
    previous[0, 0, 2, 1] = 1
    flow = torch.zeros((1, 2, 5, 5))
    flow[:, 0] = -2  # what is now at x was at x - 2
    assert backward_warp(previous, flow)[0, 0].nonzero().tolist() == [[2, 3]]


def test_what_comes_from_outside_is_zero():
    flow = torch.zeros((1, 2, 4, 4))
    flow[:, 1] = 1.5
    moved = backward_warp(torch.ones((1, 2, 4, 4)), flow)
    assert torch.equal(moved[0, 0].bool(), torch.tensor([[1], [1], [0], [0]]).expand(4, 4).bool())
