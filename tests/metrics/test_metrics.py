"""J and F of masks, mean J over a video, and the ways of giving the truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import tiny
from rmnet.errors import ConfigError, MaskError
from rmnet.io.label_png import write_label_png
from rmnet.metrics import contour_accuracy, jaccard, mean_jaccard


def slow_jaccard(prediction, truth, void):
    """Intersection over union, a pixel at a time."""
    both = either = 0
    for row in range(truth.shape[0]):
        for column in range(truth.shape[1]):
            if void[row, column]:
                continue
            both += prediction[row, column] and truth[row, column]
            either += prediction[row, column] or truth[row, column]
    return both / either if either else 1.0


def slow_contour(mask):
    """Pixels that differ from their right, lower or lower right neighbour, if it exists."""
    H, W = mask.shape
    return [
        (y, x)
        for y in range(H)
        for x in range(W)
        if any(
            y + dy < H and x + dx < W and mask[y, x] != mask[y + dy, x + dx]
            for dy, dx in ((0, 1), (1, 0), (1, 1))
        )
    ]


def slow_contour_accuracy(prediction, truth, radius):
    """The share of each contour within the radius of the other, a pair of pixels at a time."""
    predicted, true = slow_contour(prediction), slow_contour(truth)
    if not predicted or not true:
        return float(len(predicted) == len(true))

    def share_near(pixels, others):
        near = [any((y - v) ** 2 + (x - u) ** 2 <= radius**2 for v, u in others) for y, x in pixels]
        return sum(near) / len(near)

    precision, recall = share_near(predicted, true), share_near(true, predicted)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def slow_mean_jaccard(labels, truth, object_id):
    """Over the frames after the first that shows the object."""
    values, was_shown = [], False
    for predicted, expected in zip(labels, truth, strict=True):
        if was_shown:
            values.append(
                slow_jaccard(predicted == object_id, expected == object_id, expected == 255)
            )
        was_shown = was_shown or bool((expected == object_id).any())
    return sum(values) / len(values)


def random_maps(ids, num_frames=5, size=(7, 9)):
    return np.random.default_rng(1).choice(np.array(ids), (num_frames, *size))


def test_jaccard_equals_a_loop_over_pixels():
    prediction, truth, void = (random_maps([0, 1], num_frames=1)[0] == 1 for _ in range(3))
    prediction = np.roll(prediction, 1, axis=0)
    void = np.roll(void, 2, axis=1)
    expected = slow_jaccard(prediction, truth, void)
    assert 0 < expected < 1
    assert jaccard(prediction, truth, void=void) == pytest.approx(expected)


def test_jaccard_of_two_empty_masks_is_one():
    empty = np.zeros((4, 5), bool)
    assert jaccard(empty, empty) == 1.0
    assert jaccard(~empty, ~empty, void=~empty) == 1.0


@st.composite
def masks(draw, count):
    """Masks of one size: noise, or rectangles, which have the longer contours."""
    shape = draw(st.tuples(st.integers(1, 9), st.integers(1, 11)))
    some = []
    for _ in range(count):
        if draw(st.booleans()):
            some.append(draw(arrays(bool, shape)))
            continue
        mask = np.zeros(shape, bool)
        y, x = (sorted(draw(st.tuples(*[st.integers(0, side)] * 2))) for side in shape)
        mask[slice(*y), slice(*x)] = True
        some.append(mask)
    return some


@settings(deadline=None)
@given(masks(2), st.integers(0, 14))
def test_contour_accuracy_equals_a_loop_over_pairs_of_pixels(pair, radius):
    expected = slow_contour_accuracy(*pair, radius)
    assert contour_accuracy(*pair, bound=radius) == pytest.approx(expected, abs=1e-12)


@settings(deadline=None)
@given(masks(3))
def test_both_measures_are_symmetric_and_in_range(three):
    prediction, truth, void = three
    for measure in (jaccard, contour_accuracy):
        score = measure(prediction, truth, void=void)
        assert 0 <= score <= 1
        assert score == pytest.approx(measure(truth, prediction, void=void))
        assert score == measure(prediction & ~void, truth & ~void)
        assert measure(truth, truth) == 1


@settings(deadline=None)
@given(masks(2), st.integers(0, 4), st.integers(0, 4))
def test_contour_accuracy_of_masks_inside_does_not_depend_on_the_place(pair, down, right):
    inside = [np.pad(mask, 1) for mask in pair]
    moved = [np.pad(mask, ((down, 4 - down), (right, 4 - right))) for mask in inside]
    assert contour_accuracy(*moved, bound=2) == contour_accuracy(*inside, bound=2)


def test_contour_accuracy_takes_a_share_of_the_diagonal_below_one():
    shape = (60, 80)  # the diagonal is 100 px
    prediction, truth = np.zeros(shape, bool), np.zeros(shape, bool)
    truth[:, :40] = True
    prediction[:, :44] = True
    assert contour_accuracy(prediction, truth) == 0  # 0.8 px, rounded up to 1
    assert contour_accuracy(prediction, truth, bound=0.031) == 1  # 3.1 px, rounded up to 4
    assert contour_accuracy(prediction, truth, bound=0.03) == 0
    assert contour_accuracy(prediction, truth, bound=4) == 1
    assert contour_accuracy(prediction, truth, bound=1e9) == 1


def test_contour_accuracy_takes_views_and_leaves_them_as_they_are():
    block = np.random.default_rng(3).random((2, 24, 30)) < 0.5
    before = block.copy()
    views = block[0, ::2, ::-1], np.asfortranarray(block[1])[::2]
    copies = [np.ascontiguousarray(view) for view in views]
    assert contour_accuracy(*views) == contour_accuracy(*copies)
    assert (block == before).all()


@pytest.mark.parametrize("measure", [jaccard, contour_accuracy])
@pytest.mark.parametrize(
    ("prediction", "truth", "message"),
    [
        (np.ones((4, 5), np.uint8), np.ones((4, 5), bool), "prediction is uint8 .* == id"),
        (np.ones((4, 5), bool), np.ones((4, 5)), "truth is float64"),
        (np.ones((1, 4, 5), bool), np.ones((4, 5), bool), r"\(1, 4, 5\); accepted: bool \(H, W\)"),
        (np.ones((5, 4), bool), np.ones((4, 5), bool), r"the truth's size, \(4, 5\)"),
    ],
)
def test_what_is_no_mask_is_refused(measure, prediction, truth, message):
    with pytest.raises(MaskError, match=message):
        measure(prediction, truth)


@pytest.mark.parametrize("bound", [-1, np.nan, np.inf])
def test_a_bound_that_is_no_distance_is_refused(bound):
    with pytest.raises(ConfigError, match="accepted: a share"):
        contour_accuracy(np.ones((4, 5), bool), np.ones((4, 5), bool), bound=bound)


def test_mean_jaccard_equals_a_loop_over_pixels_and_frames():
    truth = random_maps([0, 1, 4, 255])
    labels = np.roll(random_maps([0, 1, 4, 6]), 1, axis=1)
    scores = mean_jaccard(dict(enumerate(labels)), truth)
    assert scores == pytest.approx({i: slow_mean_jaccard(labels, truth, i) for i in (1, 4)})


def test_mean_jaccard_of_the_truth_itself_is_one():
    truth = random_maps([0, 1, 4, 255])
    assert mean_jaccard(dict(enumerate(truth)), truth) == {1: 1.0, 4: 1.0}


def test_mean_jaccard_leaves_the_first_frame_out():
    truth = random_maps([0, 1])
    labels = truth.copy()
    labels[0] = 0
    assert mean_jaccard(dict(enumerate(labels)), truth) == {1: 1.0}


def test_mean_jaccard_takes_an_object_without_prediction_as_empty():
    truth = random_maps([0, 1, 2])
    labels = np.where(truth == 2, 0, truth)
    assert mean_jaccard(dict(enumerate(labels)), truth) == {1: 1.0, 2: 0.0}


def test_mean_jaccard_scores_a_later_object_if_named_from_its_second_frame_on():
    truth = random_maps([0, 1, 5])
    truth[:2][truth[:2] == 5] = 0
    labels = truth.copy()
    labels[2] = 0  # where 5 was given
    labels[3][labels[3] == 5] = 0
    by_index = dict(enumerate(labels))
    assert set(mean_jaccard(by_index, truth)) == {1}
    assert mean_jaccard(by_index, truth, object_ids=[5])[5] == 0.5
    assert set(mean_jaccard(by_index, truth, object_ids=[5, 9])) == {1, 5}


def test_mean_jaccard_takes_a_truth_of_some_frames():
    labels = dict(enumerate(random_maps([0, 1], num_frames=7)))
    truth = {5: labels[5], 2: labels[2], 6: 1 - labels[6]}
    assert mean_jaccard(labels, truth) == {1: 0.5}
    assert mean_jaccard(labels, {2: labels[2]}) == {}  # no frame to be found in


@pytest.mark.parametrize(
    ("truth", "error", "message"),
    [
        ([np.zeros((7, 9), int)] * 4, ConfigError, "4 label maps for 5 tracked frames"),
        ({0: np.zeros((7, 9), int), 9: np.zeros((7, 9), int)}, ConfigError, r"\[9\] were not"),
        ({}, ConfigError, "at least one"),
        (np.zeros((5, 9, 7), int), MaskError, r"frame 0 .* \(9, 7\); accepted: .*\(7, 9\)"),
        (np.zeros((5, 7, 9)), MaskError, "float64"),
    ],
)
def test_mean_jaccard_refuses_a_truth_of_other_frames(truth, error, message):
    with pytest.raises(error, match=message):
        mean_jaccard(dict(enumerate(random_maps([0, 1]))), truth)


# --- VideoSegmentation.evaluate ---------------------------------------------------------------


@pytest.fixture(scope="module")
def result():
    frames, labels = tiny.clip(num_frames=12)
    return tiny.segmenter().track(frames, labels)


def test_evaluate_takes_an_array(result):
    assert result.evaluate(result.labels) == {3: 1.0, 7: 1.0}


def test_evaluate_takes_a_folder_named_like_the_frames(result, tmp_path):
    result.save_masks(tmp_path)
    assert result.evaluate(tmp_path) == {3: 1.0, 7: 1.0}
    for number in (3, 4, 11):  # as YouTube-VOS, which has every fifth
        (tmp_path / f"{number:05d}.png").unlink()
    assert result.evaluate(str(tmp_path)) == {3: 1.0, 7: 1.0}


def test_evaluate_takes_a_folder_of_other_names_in_natural_order(result, tmp_path):
    truth = result.labels
    truth[10] = 0
    for index, labels in enumerate(truth):
        write_label_png(tmp_path / f"truth_{index}.png", labels)
    assert result.evaluate(tmp_path) == result.evaluate(truth) != result.evaluate(result.labels)


def test_evaluate_refuses_a_folder_of_other_frames(result, tmp_path):
    with pytest.raises(ConfigError, match=r"no folder .*nowhere"):
        result.evaluate(tmp_path / "nowhere")
    for index in range(4):
        write_label_png(tmp_path / f"truth_{index}.png", result.labels[index])
    with pytest.raises(ConfigError, match="4 label maps for 12 frames, and 'truth_0'"):
        result.evaluate(tmp_path)
