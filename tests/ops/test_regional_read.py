"""The regional read, by every reader there is, against a slow float64 loop of the equations."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
from readers import READERS, every_reader
from rmnet.ops import read_pytorch, regional_read

H, W, CK, CV = 4, 5, 6, 3
SEMANTICS = ("zeroed", "excluded")
TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}

WHOLE = (0, 0, W, H)
ONE_CELL = (2, 1, 3, 2)
EMPTY = (0, 0, 0, 0)
BORDER = (3, 2, W, H)

every_semantics = pytest.mark.parametrize("semantics", SEMANTICS)


def random_inputs(n, frames, *, seed=0, key_size=2.0, dtype=torch.float32, ck=CK, cv=CV):
    g = torch.Generator().manual_seed(seed)
    query_key = torch.randn((n, H, W, ck), generator=g) * key_size
    memory_key = torch.randn((n, frames, H, W, ck), generator=g) * key_size
    memory_value = torch.randn((n, frames, H, W, cv), generator=g)
    return [x.to(dtype) for x in (query_key, memory_key, memory_value)]


def int32(boxes):
    return torch.tensor(boxes, dtype=torch.int32)


def compare(read, tensors, query_boxes, memory_boxes, semantics, *, present=None, scale=CK**-0.5):
    """Run both and check: the readout, its shape and its dtype."""
    boxes = int32(query_boxes), int32(memory_boxes)
    got = read(*tensors, *boxes, present=present, semantics=semantics, scale=scale)
    shown = torch.ones(boxes[1].shape[:2], dtype=bool) if present is None else present
    arrays = [x.double().numpy() for x in tensors]
    want = reference.regional_read(
        *arrays, query_boxes, boxes[1].tolist(), shown.tolist(), semantics, scale
    )
    dtype = tensors[2].dtype
    assert got.dtype == dtype
    assert got.shape == want.shape
    assert got.double().numpy() == pytest.approx(want, abs=TOLERANCE[dtype], rel=TOLERANCE[dtype])


@every_reader
@every_semantics
@pytest.mark.parametrize("query_box", [WHOLE, ONE_CELL, EMPTY, BORDER])
@pytest.mark.parametrize("memory_box", [WHOLE, ONE_CELL, EMPTY, BORDER])
def test_every_kind_of_box_matches_the_loop(read, semantics, query_box, memory_box):
    compare(read, random_inputs(1, 2), [query_box], [[memory_box, WHOLE]], semantics)
    compare(read, random_inputs(1, 2, seed=1), [query_box], [[memory_box] * 2], semantics)


@every_reader
@every_semantics
def test_one_to_forty_memory_frames_match_the_loop(read, semantics):
    for frames in range(1, 41):
        boxes = [[ONE_CELL, BORDER, EMPTY, WHOLE][t % 4] for t in range(frames)]
        compare(read, random_inputs(1, frames), [ONE_CELL], [boxes], semantics)


@every_reader
@every_semantics
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_every_dtype_matches_the_loop(read, semantics, dtype):
    tensors = random_inputs(2, 3, dtype=dtype)
    compare(read, tensors, [BORDER, WHOLE], [[WHOLE, BORDER, ONE_CELL]] * 2, semantics)


@every_reader
@every_semantics
@pytest.mark.parametrize(("ck", "cv"), [(1, 1), (8, 16), (64, 192), (13, 45), (128, 512)])
def test_every_width_matches_the_loop(read, semantics, ck, cv):
    tensors = random_inputs(1, 2, ck=ck, cv=cv)
    compare(read, tensors, [BORDER], [[WHOLE, BORDER]], semantics, scale=ck**-0.5)


boxes = st.tuples(st.integers(0, W), st.integers(0, H), st.integers(0, W), st.integers(0, H)).map(
    lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3]))
)


@st.composite
def ragged(draw):
    n, frames = draw(st.integers(1, 12)), draw(st.integers(1, 5))
    query_boxes = [draw(boxes) for _ in range(n)]
    memory_boxes = [[draw(boxes) for _ in range(frames)] for _ in range(n)]
    present = [[draw(st.booleans()) for _ in range(frames)] for _ in range(n)]
    return n, frames, query_boxes, memory_boxes, present, draw(st.integers(0, 99))


@every_reader
@settings(max_examples=40, deadline=None)
@given(
    case=ragged(),
    semantics=st.sampled_from(SEMANTICS),
    dtype=st.sampled_from(list(TOLERANCE)),
    threads=st.sampled_from((1, 3)),
)
def test_random_ragged_boxes_and_absent_frames_match_the_loop(
    read, case, semantics, dtype, threads
):
    n, frames, query_boxes, memory_boxes, present, seed = case
    tensors = random_inputs(n, frames, seed=seed, key_size=1.0, dtype=dtype)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        compare(read, tensors, query_boxes, memory_boxes, semantics, present=torch.tensor(present))
    finally:
        torch.set_num_threads(before)


@every_reader
@every_semantics
def test_a_read_large_enough_for_several_threads_and_blocks_matches_pytorch_in_float64(
    read, semantics
):
    """The loops are too slow for it: more queries, cells and work than one pass takes."""
    h, w, frames, ck, cv = 13, 21, 7, 24, 40
    g = torch.Generator().manual_seed(0)
    tensors = (
        torch.randn((2, h, w, ck), generator=g),
        torch.randn((2, frames, h, w, ck), generator=g),
        torch.randn((2, frames, h, w, cv), generator=g),
    )
    query_boxes = int32([(0, 0, w, h), (2, 1, 19, 12)])
    memory_boxes = int32([[(0, 0, w, h)] * frames, [(1, 2, 20, 11)] * frames])
    arrays = [x.double() for x in tensors]
    for j in range(2):
        x0, y0, x1, y1 = query_boxes[j].tolist()
        inside = torch.zeros((frames, h, w), dtype=bool)
        for t, (a, b, c, d) in enumerate(memory_boxes[j].tolist()):
            inside[t, b:d, a:c] = True
        keys, values = (arrays[i][j] * inside[..., None] for i in (1, 2))
        scores = arrays[0][j, y0:y1, x0:x1].flatten(0, 1) @ keys.flatten(0, 2).T * ck**-0.5
        if semantics == "excluded":
            scores = scores.masked_fill(~inside.flatten(), -torch.inf)
        want = scores.softmax(1) @ values.flatten(0, 2)
        for threads in (1, 2, 5):
            before = torch.get_num_threads()
            torch.set_num_threads(threads)
            try:
                got = read(
                    *tensors, query_boxes, memory_boxes,
                    present=None, semantics=semantics, scale=ck**-0.5,
                )  # fmt: skip
            finally:
                torch.set_num_threads(before)
            found = got[j, y0:y1, x0:x1].flatten(0, 1).double()
            assert torch.allclose(found, want, atol=1e-5, rtol=1e-5)


@every_reader
@every_semantics
def test_non_contiguous_input_matches_the_loop(read, semantics):
    query_key, memory_key, memory_value = random_inputs(3, 6)
    tensors = (
        query_key[:1].expand(2, -1, -1, -1),
        memory_key.transpose(2, 3).contiguous().transpose(2, 3)[1:, ::2],
        memory_value.permute(0, 1, 4, 2, 3).contiguous().permute(0, 1, 3, 4, 2)[1:, ::2],
    )
    compare(read, tensors, [BORDER, WHOLE], [[WHOLE, BORDER, ONE_CELL]] * 2, semantics)


@every_reader
@every_semantics
def test_a_slice_of_larger_storage_is_read_without_what_is_beyond(read, semantics):
    query_key, memory_key, memory_value = random_inputs(2, 6)
    memory_key[:, 4:], memory_value[:, 4:] = torch.nan, torch.nan
    tensors = query_key, memory_key[:, :4], memory_value[:, :4]
    compare(read, tensors, [WHOLE, BORDER], [[WHOLE, BORDER, EMPTY, ONE_CELL]] * 2, semantics)


@every_reader
@every_semantics
def test_cells_outside_the_regions_are_not_even_multiplied(read, semantics):
    query_key, memory_key, memory_value = random_inputs(1, 1)
    outside = torch.ones((H, W), dtype=torch.bool)
    x0, y0, x1, y1 = BORDER
    outside[y0:y1, x0:x1] = False
    memory_key[0, 0, outside], memory_value[0, 0, outside] = torch.nan, torch.nan
    got = read(
        query_key, memory_key, memory_value, int32([WHOLE]), int32([[BORDER]]),
        present=None, semantics=semantics, scale=1.0,
    )  # fmt: skip
    assert got.isfinite().all()


@every_reader
@every_semantics
@pytest.mark.parametrize("sign", [1, -1])
def test_large_scores_neither_overflow_nor_vanish(read, semantics, sign):
    query_key, memory_key, memory_value = random_inputs(1, 2, key_size=40.0)
    tensors = query_key.abs(), sign * memory_key.abs(), memory_value
    compare(read, tensors, [WHOLE], [[WHOLE, BORDER]], semantics, scale=1.0)
    compare(read, tensors, [WHOLE], [[WHOLE, WHOLE]], semantics, scale=1.0)


@every_semantics
def test_slices_of_queries_give_the_whole(semantics, monkeypatch):
    monkeypatch.setattr(read_pytorch, "SCORES_AT_A_TIME", 7)
    read = READERS["pytorch"]
    compare(read, random_inputs(2, 2), [BORDER, WHOLE], [[WHOLE, BORDER]] * 2, semantics)


@every_reader
def test_excluded_query_outside_its_region_reads_nothing(read):
    got = read(
        *random_inputs(1, 1), int32([ONE_CELL]), int32([[WHOLE]]),
        present=None, semantics="excluded", scale=1.0,
    )  # fmt: skip
    assert got[0, 1, 2].abs().sum() > 0
    got[0, 1, 2] = 0
    assert torch.equal(got, torch.zeros_like(got))


@every_reader
def test_zeroed_query_outside_its_region_reads_the_plain_mean_of_what_is_left(read):
    query_key, memory_key, memory_value = random_inputs(1, 2)
    got = read(
        query_key, memory_key, memory_value, int32([ONE_CELL]), int32([[BORDER, EMPTY]]),
        present=None, semantics="zeroed", scale=1.0,
    )  # fmt: skip
    x0, y0, x1, y1 = BORDER
    mean = memory_value[0, 0, y0:y1, x0:x1].sum(dim=(0, 1)) / (2 * H * W)
    assert torch.allclose(got[0, 0, 0], mean, atol=1e-6)


@every_reader
def test_no_objects_and_no_frames_are_read_as_nothing(read):
    no_objects = read(
        *random_inputs(0, 2), int32([]).view(0, 4), int32([]).view(0, 2, 4),
        present=None, semantics="zeroed", scale=1.0,
    )  # fmt: skip
    assert no_objects.shape == (0, H, W, CV)
    no_frames = read(
        *random_inputs(2, 0), int32([WHOLE, BORDER]), int32([]).view(2, 0, 4),
        present=None, semantics="zeroed", scale=1.0,
    )  # fmt: skip
    assert torch.equal(no_frames, torch.zeros((2, H, W, CV)))


@every_reader
def test_input_is_not_written_to(read):
    tensors = random_inputs(2, 2)
    before = [x.clone() for x in tensors]
    read(
        *tensors, int32([WHOLE, BORDER]), int32([[WHOLE, BORDER]] * 2),
        present=None, semantics="zeroed", scale=1.0,
    )  # fmt: skip
    assert all(torch.equal(a, b) for a, b in zip(tensors, before, strict=True))


@every_semantics
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
        *tensors, int32([query_box]), int32([memory_boxes]), semantics=semantics, scale=1.0
    )
    got = torch.autograd.grad((read[0] * weights).sum(), tensors)
    for a, b in zip(got, want, strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_autocast_around_it_does_not_lower_its_precision():
    tensors = random_inputs(1, 2)
    boxes = torch.tensor([WHOLE]), torch.tensor([[WHOLE, BORDER]])
    want = regional_read(*tensors, *boxes, semantics="zeroed", scale=1.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = regional_read(*tensors, *boxes, semantics="zeroed", scale=1.0)
    assert torch.equal(got, want)


def test_reference_itself_has_weights_that_sum_to_one():
    query_key, memory_key, _ = (x.numpy() for x in random_inputs(1, 2))
    ones = np.ones((1, 2, H, W, 1))
    read = reference.regional_read(
        query_key, memory_key, ones, [WHOLE], [[WHOLE] * 2], [[True] * 2], "excluded", 1.0
    )
    assert read == pytest.approx(1.0)
