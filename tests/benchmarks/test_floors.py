"""The simple methods that benchmarks compare the network with."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("cv2", reason="only benchmarks need OpenCV")

from benchmarks import floors
from benchmarks.composites import composites
from rmnet.demo import make_clip


def moving_square(frames=4, speed=5):
    """Return frames and labels of a bright, patterned square that moves right."""
    rng = np.random.default_rng(0)
    pattern = rng.integers(120, 255, (24, 24, 3), np.uint8).repeat(2, 0).repeat(2, 1)
    clip, labels = [], []
    for t in range(frames):
        frame = np.full((96, 160, 3), 60, np.uint8)
        label = np.zeros((96, 160), np.uint8)
        x = 20 + speed * t
        frame[20:68, x : x + 48] = pattern
        label[20:68, x : x + 48] = 3
        clip.append(frame)
        labels.append(label)
    return clip, labels


def test_true_flow_carries_the_mask_and_zero_flow_leaves_it():
    frames, labels = moving_square()

    def true_flow(current, previous):
        return np.stack([np.full((96, 160), -5.0), np.zeros((96, 160))]).astype(np.float32)

    for found, truth in zip(floors.carried(frames, labels[0], true_flow), labels, strict=True):
        np.testing.assert_array_equal(found, truth)
    for found in floors.carried(frames, labels[0], floors.zero_flow):
        np.testing.assert_array_equal(found, labels[0])
    assert floors.repeated(frames, labels[0])[-1] is labels[0]


def test_dis_flow_points_from_the_current_frame_to_the_previous_one():
    frames, labels = moving_square()
    flow = floors.dis_flow()(frames[1], frames[0])
    inside = flow[:, labels[1] > 0]
    assert np.median(inside[0]) == pytest.approx(-5, abs=0.5)
    assert np.median(inside[1]) == pytest.approx(0, abs=0.5)


def test_void_is_not_carried():
    labels = np.zeros((32, 32), np.uint8)
    labels[8:16, 8:16], labels[20:, 20:] = 1, 255
    moved = floors.carry(labels, np.zeros((2, 32, 32), np.float32))
    assert set(np.unique(moved)) == {0, 1}


def test_network_flow_counts_pixels_of_the_frame_it_is_given():
    from rmnet.weights.load import load_network

    frames = make_clip(num_frames=2, size=(240, 320)).frames
    network = load_network("rmnet-small").flow
    whole, halved = (
        floors.network_flow(network, size)(frames[1], frames[0]) for size in (240, 120)
    )
    assert whole.shape == halved.shape == (2, 240, 320)
    assert whole.dtype == np.float32


@pytest.mark.slow
def test_composites_show_every_object_and_are_reproducible(data_root):
    first = list(composites(data_root, clips_each=1))
    again = list(composites(data_root, clips_each=1))
    assert [name for name, _, _ in first] == [f"composite-{n}-0" for n in (2, 3, 4, 5)]
    for objects, (_, frames, labels), (_, same, _) in zip(range(2, 6), first, again, strict=True):
        np.testing.assert_array_equal(frames, same)
        assert np.shape(frames) == (16, 240, 432, 3)
        ids, areas = np.unique(labels[0], return_counts=True)
        assert ids.tolist() == list(range(objects + 1))
        assert areas.min() >= 100
