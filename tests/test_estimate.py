"""Masks given on top of what the network said."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rmnet.estimate import Estimate
from rmnet.masks import parse_mask

SIZE = (6, 8)


def predicted(num_objects, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn((num_objects + 1, *SIZE), generator=g).mul(3).softmax(dim=0)


def label_map(seed, ids, *, void=False):
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, *ids, *([255] if void else [])], SIZE).astype(np.uint8)
    labels.flat[: len(ids)] = ids  # each object has a pixel
    return labels


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 999), new=st.booleans(), void=st.booleans(), larger=st.booleans())
def test_probabilities_sum_to_one_whatever_is_given(seed, new, void, larger):
    estimate = Estimate((4, 2, 9), predicted(3, seed))
    masks = parse_mask(label_map(seed, [2, 5 if new else 4], void=void))
    given = estimate.give(masks).give(parse_mask(label_map(seed + 1, [9], void=void)))
    probabilities = given.probabilities((11, 13) if larger else None)
    assert probabilities.shape[0] == len(given.object_ids) + 1
    assert torch.allclose(probabilities.sum(dim=0), torch.ones(1), atol=1e-5)
    assert probabilities.min() >= 0
    assert probabilities.isfinite().all()


def test_a_given_object_has_exactly_its_pixels():
    labels = label_map(0, [2, 5])
    given = Estimate((4, 2), predicted(2)).give(parse_mask(labels))
    assert given.object_ids == (4, 2, 5)
    best = np.array((0, *given.object_ids))[given.probabilities().argmax(dim=0)]
    for i in (2, 5):
        assert np.array_equal(best == i, labels == i)
    assert set(given.probabilities()[2].unique().tolist()) == {0.0, 1.0}


def test_given_masks_come_back_exactly_at_a_size_the_network_never_saw():
    rng = np.random.default_rng(0)
    labels = rng.choice([0, 1, 2], (48, 64)).astype(np.uint8)
    given = Estimate.empty(SIZE, torch.device("cpu")).give(parse_mask(labels))
    assert np.array_equal(given.probabilities((48, 64)).argmax(dim=0).numpy(), labels)


def test_void_pixels_stay_as_they_were():
    labels = label_map(0, [2], void=True)
    before = Estimate((4, 2), predicted(2))
    after = before.give(parse_mask(labels)).probabilities()
    void = torch.from_numpy(labels == 255)
    assert void.any()
    assert torch.allclose(after[:, void], before.predicted[:, void], atol=1e-6)


def test_objects_that_are_not_named_keep_their_odds_where_nothing_was_given():
    labels = label_map(0, [2])
    before = Estimate((4, 2, 9), predicted(3))
    after = before.give(parse_mask(labels)).probabilities()
    free = torch.from_numpy(labels == 0)
    want = before.predicted[[0, 1, 3]][:, free]
    want = want / want.sum(dim=0)
    assert torch.allclose(after[[0, 1, 3]][:, free], want, atol=1e-5)
    assert torch.equal(after[2, free], torch.zeros(int(free.sum())))


def test_the_later_of_two_masks_wins():
    first, second = label_map(0, [1]), label_map(1, [1])
    given = Estimate.empty(SIZE, torch.device("cpu"))
    given = given.give(parse_mask(first)).give(parse_mask(second))
    assert np.array_equal(given.probabilities().argmax(dim=0).numpy(), second)


def test_removed_objects_leave_their_pixels_to_the_second_best():
    before = Estimate((4, 2, 9), predicted(3))
    after = before.remove([2])
    assert after.object_ids == (4, 9)
    want = before.predicted[[0, 1, 3]]
    assert torch.allclose(after.predicted, want / want.sum(dim=0), atol=1e-5)


def test_removing_a_given_object_takes_its_mask_along():
    labels = label_map(0, [2, 5])
    left = Estimate.empty(SIZE, torch.device("cpu")).give(parse_mask(labels)).remove([5])
    assert left.object_ids == (2,)
    assert np.array_equal(left.probabilities().argmax(dim=0).numpy(), labels == 2)
    assert left.remove([2]).probabilities().tolist() == torch.ones((1, *SIZE)).tolist()


@pytest.mark.parametrize("call", ["give", "remove"])
def test_an_estimate_is_a_value(call):
    estimate = Estimate((4, 2), predicted(2))
    before = estimate.predicted.clone()
    estimate.give(parse_mask(label_map(0, [2]))) if call == "give" else estimate.remove([4])
    assert estimate.object_ids == (4, 2)
    assert torch.equal(estimate.predicted, before)
