import contextlib
import json
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from rmnet.errors import MaskError, MissingDependencyError
from rmnet.export.run_lengths import decode_rle, encode_rle

coco = pytest.importorskip("pycocotools.mask")
masks = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40))


def slow_counts(mask):
    """The runs by definition: down the columns, beginning with zeros; then COCO's characters."""
    runs, current = [0], False
    for pixel in mask.T.ravel().tolist():
        if pixel != current:
            runs.append(0)
            current = pixel
        runs[-1] += 1
    text = ""
    for index, run in enumerate(runs):
        rest = run - runs[index - 2] if index > 2 else run
        while True:
            digit, rest = rest & 31, rest >> 5
            more = rest != (-1 if digit & 16 else 0)
            text += chr(48 + digit + (32 if more else 0))
            if not more:
                break
    return text


@settings(deadline=None)
@given(masks)
def test_encoding_is_that_of_a_slow_encoder(mask):
    assert encode_rle(mask) == {"size": list(mask.shape), "counts": slow_counts(mask)}


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # pycocotools with NumPy 2
@settings(deadline=None)
@given(masks)
def test_decoding_gives_the_mask_back_and_agrees_with_pycocotools(mask):
    rle = json.loads(json.dumps(encode_rle(mask)))
    decoded = decode_rle(rle)
    assert decoded.dtype == np.bool_
    np.testing.assert_array_equal(decoded, mask)
    np.testing.assert_array_equal(decoded, coco.decode(rle))


def test_large_runs_survive():
    mask = np.zeros((2000, 3000), bool)
    mask[10:1990, 5:2990] = True
    np.testing.assert_array_equal(decode_rle(encode_rle(mask)), mask)


def test_non_contiguous_mask_is_encoded_as_its_copy():
    mask = np.random.default_rng(0).random((20, 30)) > 0.5
    assert encode_rle(mask[::-2, ::3]) == encode_rle(mask[::-2, ::3].copy())


def test_bool_of_other_bytes_than_1_is_encoded_alike():
    mask = np.eye(5, dtype=bool)
    assert encode_rle((mask.view(np.uint8) * 255).view(np.bool_)) == encode_rle(mask)


def test_bytes_are_decoded_like_text():
    rle = encode_rle(np.eye(5, dtype=bool))
    as_bytes = {**rle, "counts": rle["counts"].encode()}
    np.testing.assert_array_equal(decode_rle(as_bytes), np.eye(5, dtype=bool))


@pytest.mark.parametrize("mask", [np.zeros((4, 4), np.uint8), np.zeros((1, 4, 4), bool)])
def test_encoding_refuses_what_is_no_bool_mask(mask):
    with pytest.raises(MaskError, match=r"accepted: bool \(H, W\). Write labels == object_id"):
        encode_rle(mask)


@pytest.mark.parametrize(
    "rle",
    [
        {},
        {"size": [2, 2]},
        {"size": [2], "counts": "4"},
        {"size": ["a", 2], "counts": "4"},
        {"size": [2.0, 2], "counts": "4"},
        {"size": [2, 2], "counts": "é"},
        {"size": [2, 2], "counts": "~~"},
        {"size": [2, 2], "counts": "o"},
        {"size": [2, 2], "counts": "o" * 100},
        {"size": [2, 2], "counts": "@"},
        {"size": [2, 2], "counts": None},
        None,
    ],
)
def test_damaged_run_lengths_are_refused(rle):
    with pytest.raises(MaskError, match=r"cannot be read.*accepted"):
        decode_rle(rle)


@pytest.mark.parametrize(
    ("size", "counts"),
    [([2, 2], "3"), ([2, 2], "5"), ([2000, 2000], "04"), ([-2, -2], "4"), ([10**9, 10**9], "4")],
)
def test_run_lengths_that_do_not_fill_the_mask_are_refused(size, counts):
    with pytest.raises(MaskError, match=r"fill . pixels of a mask"):
        decode_rle({"size": size, "counts": counts})


@settings(deadline=None, max_examples=300)
@given(st.text(st.characters(min_codepoint=40, max_codepoint=130), max_size=30))
def test_any_text_is_decoded_or_refused(text):
    with contextlib.suppress(MaskError):
        assert decode_rle({"size": [4, 4], "counts": text}).shape == (4, 4)


def test_missing_pycocotools_is_said_with_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'rmnet\[coco\]'"):
        encode_rle(np.eye(3, dtype=bool))
