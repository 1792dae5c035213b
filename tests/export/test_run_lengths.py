"""Run lengths in the format of COCO."""

import json
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays

from rmnet.errors import MaskError, MissingDependencyError
from rmnet.export import encode_rle

coco = pytest.importorskip("pycocotools.mask")
masks = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40))


def slow_counts(mask):
    """Encode by definition: runs down the columns, zeros first, then COCO's characters."""
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
def test_encoding_matches_a_slow_encoder(mask):
    assert encode_rle(mask) == {"size": list(mask.shape), "counts": slow_counts(mask)}


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # pycocotools with NumPy 2
@settings(deadline=None)
@given(masks)
def test_pycocotools_decodes_the_mask_from_json(mask):
    rle = json.loads(json.dumps(encode_rle(mask)))
    np.testing.assert_array_equal(coco.decode(rle), mask)


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
def test_large_runs_survive():
    mask = np.zeros((2000, 3000), bool)
    mask[10:1990, 5:2990] = True
    np.testing.assert_array_equal(coco.decode(encode_rle(mask)), mask)


def test_a_non_contiguous_mask_is_encoded_like_its_copy():
    mask = np.random.default_rng(0).random((20, 30)) > 0.5
    assert encode_rle(mask[::-2, ::3]) == encode_rle(mask[::-2, ::3].copy())


def test_a_true_byte_other_than_1_is_encoded_alike():
    mask = np.eye(5, dtype=bool)
    assert encode_rle((mask.view(np.uint8) * 255).view(np.bool_)) == encode_rle(mask)


@pytest.mark.parametrize("mask", [np.zeros((4, 4), np.uint8), np.zeros((1, 4, 4), bool)])
def test_encoding_refuses_anything_but_a_bool_mask(mask):
    with pytest.raises(MaskError, match=r"accepted: bool \(H, W\). Write labels == object_id"):
        encode_rle(mask)


def test_missing_pycocotools_names_the_command_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'rmnet\[coco\]'"):
        encode_rle(np.eye(3, dtype=bool))
