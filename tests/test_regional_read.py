"""The regional read against a slow float64 loop written from the equations."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
from rmnet.ops import pytorch, regional_read

H, W, CK, CV = 4, 5, 6, 3
SEMANTICS = ("zeroed", "excluded")
TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}

WHOLE = (0, 0, W, H)
ONE_CELL = (2, 1, 3, 2)
EMPTY = (0, 0, 0, 0)
BORDER = (3, 2, W, H)


def random_inputs(n, frames, *, seed=0, key_size=2.0, dtype=torch.float32):
    g = torch.Generator().manual_seed(seed)
    query_key = torch.randn((n, H, W, CK), generator=g) * key_size
    memory_key = torch.randn((n, frames, H, W, CK), generator=g) * key_size
    memory_value = torch.randn((n, frames, H, W, CV), generator=g)
    return [x.to(dtype) for x in (query_key, memory_key, memory_value)]


def compare(tensors, query_boxes, memory_boxes, semantics, *, present=None, scale=CK**-0.5):
    """Run both and check: the readout, its shape and its dtype."""
    query_boxes = torch.tensor(query_boxes, dtype=torch.int32)
    memory_boxes = torch.tensor(memory_boxes, dtype=torch.int32)
    got = regional_read(
        *tensors, query_boxes, memory_boxes, present=present, semantics=semantics, scale=scale
    )
    shown = torch.ones(memory_boxes.shape[:2], dtype=bool) if present is None else present
    arrays = [x.double().numpy() for x in tensors]
    want = reference.regional_read(
        *arrays, query_boxes.tolist(), memory_boxes.tolist(), shown.tolist(), semantics, scale
    )
    dtype = tensors[2].dtype
    assert got.dtype == dtype
    assert got.shape == want.shape
    assert got.double().numpy() == pytest.approx(want, abs=TOLERANCE[dtype], rel=TOLERANCE[dtype])


@pytest.mark.parametrize("semantics", SEMANTICS)
@pytest.mark.parametrize("query_box", [WHOLE, ONE_CELL, EMPTY, BORDER])
@pytest.mark.parametrize("memory_box", [WHOLE, ONE_CELL, EMPTY, BORDER])
def test_every_kind_of_box_matches_the_loop(semantics, query_box, memory_box):
    compare(random_inputs(1, 2), [query_box], [[memory_box, WHOLE]], semantics)
    compare(random_inputs(1, 2, seed=1), [query_box], [[memory_box] * 2], semantics)


@pytest.mark.parametrize("semantics", SEMANTICS)
@pytest.mark.parametrize("frames", range(1, 21))
def test_one_to_twenty_memory_frames_match_the_loop(semantics, frames):
    boxes = [[WHOLE, BORDER, ONE_CELL, EMPTY][t % 4] for t in range(frames)]
    compare(random_inputs(1, frames), [BORDER], [boxes], semantics)


@pytest.mark.parametrize("semantics", SEMANTICS)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_every_dtype_matches_the_loop(semantics, dtype):
    tensors = random_inputs(2, 3, dtype=dtype)
    compare(tensors, [BORDER, WHOLE], [[WHOLE, BORDER, ONE_CELL]] * 2, semantics)


boxes = st.tuples(st.integers(0, W), st.integers(0, H), st.integers(0, W), st.integers(0, H)).map(
    lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3]))
)


@st.composite
def ragged(draw):
    n, frames = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    query_boxes = [draw(boxes) for _ in range(n)]
    memory_boxes = [[draw(boxes) for _ in range(frames)] for _ in range(n)]
    present = [[draw(st.booleans()) for _ in range(frames)] for _ in range(n)]
    return n, frames, query_boxes, memory_boxes, present, draw(st.integers(0, 99))


@settings(max_examples=60, deadline=None)
@given(case=ragged(), semantics=st.sampled_from(SEMANTICS))
def test_random_ragged_boxes_and_absent_frames_match_the_loop(case, semantics):
    n, frames, query_boxes, memory_boxes, present, seed = case
    tensors = random_inputs(n, frames, seed=seed)
    compare(tensors, query_boxes, memory_boxes, semantics, present=torch.tensor(present))


@pytest.mark.parametrize("semantics", SEMANTICS)
def test_non_contiguous_input_matches_the_loop(semantics):
    query_key, memory_key, memory_value = random_inputs(3, 6)
    tensors = (
        query_key[:1].expand(2, -1, -1, -1),
        memory_key.transpose(2, 3).contiguous().transpose(2, 3)[1:, ::2],
        memory_value.permute(0, 1, 4, 2, 3).contiguous().permute(0, 1, 3, 4, 2)[1:, ::2],
    )
    compare(tensors, [BORDER, WHOLE], [[WHOLE, BORDER, ONE_CELL]] * 2, semantics)


@pytest.mark.parametrize("semantics", SEMANTICS)
def test_large_scores_do_not_overflow(semantics):
    compare(random_inputs(1, 2, key_size=40.0), [WHOLE], [[WHOLE, BORDER]], semantics, scale=1.0)


@pytest.mark.parametrize("semantics", SEMANTICS)
def test_slices_of_queries_give_the_whole(semantics, monkeypatch):
    monkeypatch.setattr(pytorch, "SCORES_AT_A_TIME", 7)
    compare(random_inputs(2, 2), [BORDER, WHOLE], [[WHOLE, BORDER]] * 2, semantics)


def test_excluded_query_outside_its_region_reads_nothing():
    tensors = random_inputs(1, 1)
    read = regional_read(
        *tensors,
        torch.tensor([ONE_CELL]),
        torch.tensor([[WHOLE]]),
        semantics="excluded",
        scale=1.0,
    )
    assert read[0, 1, 2].abs().sum() > 0
    read[0, 1, 2] = 0
    assert torch.equal(read, torch.zeros_like(read))


def test_zeroed_query_outside_its_region_reads_the_plain_mean_of_what_is_left():
    query_key, memory_key, memory_value = random_inputs(1, 2)
    read = regional_read(
        query_key,
        memory_key,
        memory_value,
        torch.tensor([ONE_CELL]),
        torch.tensor([[BORDER, EMPTY]]),
        semantics="zeroed",
        scale=1.0,
    )
    x0, y0, x1, y1 = BORDER
    mean = memory_value[0, 0, y0:y1, x0:x1].sum(dim=(0, 1)) / (2 * H * W)
    assert torch.allclose(read[0, 0, 0], mean, atol=1e-6)


@pytest.mark.parametrize("semantics", SEMANTICS)
def test_gradients_are_those_of_a_dense_softmax(semantics):
    tensors = [x.double().requires_grad_() for x in random_inputs(1, 2)]
    query_box, memory_boxes = BORDER, [BORDER, ONE_CELL]
    inside = torch.zeros((2, H, W, 1), dtype=torch.bool)
    for t, (x0, y0, x1, y1) in enumerate(memory_boxes):
        inside[t, y0:y1, x0:x1] = True
    x0, y0, x1, y1 = query_box
    query_inside = torch.zeros((H, W, 1), dtype=torch.bool)
    query_inside[y0:y1, x0:x1] = True
    query_key, memory_key, memory_value = (x[0] for x in tensors)
    keys = (memory_key * inside).flatten(0, 2)
    values = (memory_value * inside).flatten(0, 2)
    scores = (query_key * query_inside).flatten(0, 1) @ keys.T
    if semantics == "excluded":
        scores = scores.masked_fill(~inside.flatten(), -torch.inf)
    dense = (scores.softmax(dim=1) @ values).unflatten(0, (H, W))
    if semantics == "excluded":
        dense = dense * query_inside
    weights = torch.randn((H, W, CV), dtype=torch.float64)
    want = torch.autograd.grad((dense * weights).sum(), tensors)
    read = regional_read(
        *tensors,
        torch.tensor([query_box]),
        torch.tensor([memory_boxes]),
        semantics=semantics,
        scale=1.0,
    )
    got = torch.autograd.grad((read[0] * weights).sum(), tensors)
    for a, b in zip(got, want, strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_input_is_not_written_to():
    tensors = random_inputs(2, 2)
    before = [x.clone() for x in tensors]
    boxes = torch.tensor([WHOLE, BORDER]), torch.tensor([[WHOLE, BORDER]] * 2)
    regional_read(*tensors, *boxes, semantics="zeroed", scale=1.0)
    assert all(torch.equal(a, b) for a, b in zip(tensors, before, strict=True))


def test_autocast_around_it_does_not_lower_its_precision():
    tensors = random_inputs(1, 2)
    boxes = torch.tensor([WHOLE]), torch.tensor([[WHOLE, BORDER]])
    want = regional_read(*tensors, *boxes, semantics="zeroed", scale=1.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = regional_read(*tensors, *boxes, semantics="zeroed", scale=1.0)
    assert torch.equal(got, want)


def test_disagreeing_shapes_are_named():
    query_key, memory_key, memory_value = random_inputs(2, 3)
    boxes = torch.tensor([WHOLE] * 2), torch.tensor([[WHOLE] * 3] * 2)
    with pytest.raises(
        ValueError, match=r"query_key is \(1, 4, 5, 6\); accepted .* \(2, 4, 5, 6\)"
    ):
        regional_read(
            query_key[:1], memory_key, memory_value, *boxes, semantics="zeroed", scale=1.0
        )
    with pytest.raises(ValueError, match="memory_boxes"):
        regional_read(
            query_key, memory_key, memory_value, boxes[0], boxes[1][:, :2],
            semantics="zeroed", scale=1.0,
        )  # fmt: skip


def test_reference_itself_has_weights_that_sum_to_one():
    query_key, memory_key, _ = (x.numpy() for x in random_inputs(1, 2))
    ones = np.ones((1, 2, H, W, 1))
    read = reference.regional_read(
        query_key, memory_key, ones, [WHOLE], [[WHOLE] * 2], [[True] * 2], "excluded", 1.0
    )
    assert read == pytest.approx(1.0)
