"""Frames become the network's input: normalised, padded, resized."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rmnet.geometry.image import Padding, network_size, normalise, resize


def test_frames_are_normalised_as_for_imagenet():
    frame = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    want = (frame / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    got = normalise(torch.from_numpy(frame).permute(2, 0, 1))
    assert got.permute(1, 2, 0).numpy() == pytest.approx(want, abs=1e-6)


@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([16, 64]))
def test_padding_is_minimal_and_can_be_removed(height, width, multiple):
    planes = torch.arange(float(height * width)).view(1, height, width) + 1
    padding = Padding.to_multiple((height, width), multiple)
    padded = padding.add(planes)
    assert padded.shape[1] % multiple == padded.shape[2] % multiple == 0
    assert padded.shape[1] - height < multiple
    assert padding.top == (padded.shape[1] - height) // 2
    assert padding.left == (padded.shape[2] - width) // 2
    assert torch.equal(padding.remove(padded), planes)
    assert padded.count_nonzero() == planes.numel()  # only zeros were added


def test_854_by_480_is_padded_as_in_the_released_code():
    assert Padding.to_multiple((480, 854), 16) == Padding(left=5, right=5, top=0, bottom=0)


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 1000))
def test_network_size_never_enlarges_and_keeps_the_aspect_ratio(height, width, shorter):
    size = network_size(height, width, shorter)
    assert min(size) == min(shorter, height, width)
    assert size[0] <= height
    assert size[1] <= width
    assert abs(size[0] * width - size[1] * height) <= max(height, width)
    assert network_size(height, width, None) == (height, width)


def test_shrinking_is_antialiased_like_pillows():
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    want = np.asarray(Image.fromarray(frame).resize((33, 21), Image.Resampling.BILINEAR))
    planes = torch.from_numpy(frame).permute(2, 0, 1)[None].float()
    got = resize(planes, (21, 33))[0].permute(1, 2, 0).numpy()
    assert np.abs(got - want).max() <= 1
