"""Given masks on top of the network's predictions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rmnet.geometry.aggregation import soft_aggregate
from rmnet.io.masks import parse_mask
from rmnet.tracking.estimate import Estimate

SIZE = (6, 8)


def predicted(num_objects, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn((num_objects, *SIZE), generator=g).mul(3).sigmoid()


def aggregated(objects):
    return soft_aggregate(objects[None])[0].softmax(dim=0)


def label_map(seed, ids, *, void=False):
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, *ids, *([255] if void else [])], SIZE).astype(np.uint8)
    labels.flat[: len(ids)] = ids  # each object has a pixel
    return labels


def none_known(size=SIZE):
    return Estimate.empty(size, torch.device("cpu"))


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


def test_without_masks_the_objects_are_aggregated():
    objects = predicted(3)
    assert torch.equal(Estimate((4, 2, 9), objects).probabilities(), aggregated(objects))


def test_a_given_object_has_exactly_its_pixels():
    labels = label_map(0, [2, 5])
    given = Estimate((4, 2), predicted(2)).give(parse_mask(labels))
    assert given.object_ids == (4, 2, 5)
    best = np.array((0, *given.object_ids))[given.probabilities().argmax(dim=0)]
    for i in (2, 5):
        assert np.array_equal(best == i, labels == i)
    assert set(given.probabilities()[2].unique().tolist()) == {0.0, 1.0}


def test_a_first_mask_is_one_hot():
    labels = label_map(0, [1, 2])
    probabilities = none_known().give(parse_mask(labels)).probabilities()
    assert torch.equal(
        probabilities, torch.stack([torch.from_numpy(labels == i) for i in range(3)]).float()
    )


def test_given_masks_come_back_exactly_at_a_size_the_network_never_saw():
    rng = np.random.default_rng(0)
    labels = rng.choice([0, 1, 2], (48, 64)).astype(np.uint8)
    given = none_known().give(parse_mask(labels))
    assert np.array_equal(given.probabilities((48, 64)).argmax(dim=0).numpy(), labels)


def test_void_pixels_stay_as_they_were():
    labels = label_map(0, [2], void=True)
    before = Estimate((4, 2), predicted(2))
    after = before.give(parse_mask(labels)).probabilities()
    void = torch.from_numpy(labels == 255)
    assert void.any()
    assert torch.allclose(after[:, void], before.probabilities()[:, void], atol=1e-6)


def test_void_of_a_first_mask_is_background():
    labels = label_map(0, [2], void=True)
    probabilities = none_known().give(parse_mask(labels)).probabilities()
    assert (probabilities[0, torch.from_numpy(labels == 255)] > 0.999).all()


def test_a_corrected_object_leaves_no_trace_in_the_others():
    labels = label_map(0, [2])
    objects = predicted(3)
    after = Estimate((4, 2, 9), objects).give(parse_mask(labels)).probabilities()
    free = torch.from_numpy(labels == 0)
    assert torch.allclose(
        after[[0, 1, 3]][:, free], aggregated(objects[[0, 2]])[:, free], atol=1e-5
    )
    assert torch.equal(after[2, free], torch.zeros(int(free.sum())))


def test_the_later_of_two_masks_decides():
    first, second = label_map(0, [1]), label_map(1, [1])
    given = none_known().give(parse_mask(first)).give(parse_mask(second))
    assert np.array_equal(given.probabilities().argmax(dim=0).numpy(), second)


@pytest.mark.parametrize("other", ["predicted", "given"])
def test_a_second_correction_gives_back_what_the_first_one_took(other):
    estimate = Estimate((3, 7), predicted(2))
    if other == "given":
        estimate = estimate.give(parse_mask(label_map(5, [7])))
    wrong, right = parse_mask(label_map(0, [3])), parse_mask(label_map(1, [3]))
    once, twice = estimate.give(right), estimate.give(wrong).give(right)
    assert torch.equal(once.probabilities(), twice.probabilities())
    assert len(twice.given.object_ids) == len(once.given.object_ids)


def test_void_keeps_what_an_earlier_mask_said():
    first = np.zeros(SIZE, dtype=np.uint8)
    first[:3] = 2
    second = np.full(SIZE, 255, dtype=np.uint8)
    second[0] = 0
    second[5] = 2
    given = Estimate((2,), predicted(1)).give(parse_mask(first)).give(parse_mask(second))
    want = np.zeros(SIZE, dtype=bool)
    want[[1, 2, 5]] = True
    assert np.array_equal(given.probabilities()[1].numpy() == 1, want)
    assert set(given.probabilities()[1].unique().tolist()) == {0.0, 1.0}


def test_an_object_given_without_pixels_is_not_in_the_frame():
    nowhere = parse_mask({2: np.zeros(SIZE, dtype=bool)}, allow_empty=True)
    objects = predicted(2)
    after = Estimate((4, 2), objects).give(nowhere).probabilities()
    assert not after[2].any()
    assert torch.allclose(after[:2], aggregated(objects[:1]), atol=1e-5)


def test_a_removed_object_leaves_no_trace_in_the_others():
    objects = predicted(3)
    after = Estimate((4, 2, 9), objects).remove([2])
    assert after.object_ids == (4, 9)
    assert torch.equal(after.probabilities(), aggregated(objects[[0, 2]]))


def test_removing_a_given_object_takes_its_mask_along():
    labels = label_map(0, [2, 5])
    left = none_known().give(parse_mask(labels)).remove([5])
    assert left.object_ids == (2,)
    assert np.array_equal(left.probabilities().argmax(dim=0).numpy(), labels == 2)
    nothing = left.remove([2])
    assert nothing.given is None
    assert torch.equal(nothing.probabilities(), torch.ones((1, *SIZE)))


@pytest.mark.parametrize("call", ["give", "remove", "probabilities"])
def test_an_estimate_is_a_value(call):
    estimate = Estimate((4, 2), predicted(2)).give(parse_mask(label_map(3, [4], void=True)))
    before, masks = estimate.predicted.clone(), estimate.given.masks.clone()
    {
        "give": lambda: estimate.give(parse_mask(label_map(0, [2]))),
        "remove": lambda: estimate.remove([4]),
        "probabilities": estimate.probabilities,
    }[call]()
    assert estimate.object_ids == (4, 2)
    assert torch.equal(estimate.predicted, before)
    assert torch.equal(estimate.given.masks, masks)
