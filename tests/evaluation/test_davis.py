"""The protocols of DAVIS, against davis2017-evaluation's numbers and a slow loop."""

import numpy as np
import pytest

from golden_files import golden
from rmnet.errors import ConfigError, MaskError
from rmnet.evaluation import SequenceScores, evaluate_sequence, summarise_davis
from rmnet.evaluation.statistics import average_rows, mean_recall_decay
from rmnet.metrics import contour_accuracy, jaccard

SEQUENCES = ("aa", "bb", "cc", "dd")
CLOSE = {"rtol": 0, "atol": 1e-6, "equal_nan": True}


@pytest.fixture(scope="module")
def toolkit():
    return dict(golden("davis_metrics"))


@pytest.fixture(scope="module")
def scores(toolkit):
    return {s: evaluate_sequence(toolkit[f"{s}/pred"], toolkit[f"{s}/gt"]) for s in SEQUENCES}


def random_maps(ids, num_frames=6, size=(17, 22)):
    """Label maps of blobs, not of noise, so that F is neither 0 nor 1."""
    coarse = np.random.default_rng(2).choice(np.array(ids), (num_frames, 6, 8))
    return coarse.repeat(3, axis=1).repeat(3, axis=2)[:, : size[0], : size[1]]


def slow_scores(measure, labels, truth, object_id):
    values = []
    for t in range(1, len(truth) - 1):
        void = truth[t] == 255
        values.append(measure(labels[t] == object_id, truth[t] == object_id, void=void))
    return values


def slow_mean_recall_decay(values):
    """For at most 256 values without NaN: quarters that share the frames between them."""
    n = len(values)
    bounds = [int(np.floor(1 + (n - 1) * quarter / 4 + 0.5)) for quarter in range(5)]  # from 1 on
    first = [values[t - 1] for t in range(bounds[0], bounds[1] + 1)]
    last = [values[t - 1] for t in range(bounds[3], bounds[4] + 1)]
    recall = sum(value > 0.5 for value in values) / n
    return sum(values) / n, recall, sum(first) / len(first) - sum(last) / len(last)


# --- The toolkit's numbers --------------------------------------------------------------------


@pytest.mark.parametrize("name", SEQUENCES)
def test_scores_of_every_object_and_frame_equal_the_toolkits(toolkit, scores, name):
    np.testing.assert_allclose(scores[name].jaccard, toolkit[f"{name}/J"], **CLOSE)
    np.testing.assert_allclose(scores[name].contour_accuracy, toolkit[f"{name}/F"], **CLOSE)


def test_statistics_of_every_object_equal_the_toolkits(toolkit, scores):
    objects = [f"{s}_{i}" for s in SEQUENCES for i in scores[s].object_ids]
    assert objects == toolkit["object_names"].tolist()
    for measure, statistics in (("J", "jaccard_statistics"), ("F", "contour_statistics")):
        got = np.array([row for s in SEQUENCES for row in getattr(scores[s], statistics)])
        want = np.stack([toolkit[f"per_object/{measure}-{x}"] for x in "MRD"], axis=1)
        np.testing.assert_allclose(got, want, **CLOSE)


def test_the_summary_equals_the_toolkits(toolkit, scores):
    summary = summarise_davis(scores.values())
    assert list(summary) == toolkit["global_names"].tolist()
    np.testing.assert_allclose(list(summary.values()), toolkit["global"], **CLOSE)


@pytest.mark.parametrize("row", range(11))
def test_mean_recall_and_decay_equal_the_toolkits(toolkit, row):
    got = mean_recall_decay(toolkit[f"series/{row}/x"])
    np.testing.assert_allclose(got, toolkit["series/MRD"][row], **CLOSE)


def test_single_masks_equal_the_toolkits(toolkit):
    width = int(toolkit["pairs/width"])
    prediction, truth = (
        np.unpackbits(toolkit[f"pairs/{name}"], axis=-1)[..., :width].astype(bool)
        for name in ("pred", "gt")
    )
    for i, pair in enumerate(zip(prediction, truth, strict=True)):
        assert jaccard(*pair) == pytest.approx(toolkit["pairs/J"][i], abs=1e-6), i
        assert contour_accuracy(*pair) == pytest.approx(toolkit["pairs/F"][i], abs=1e-6), i
        three = contour_accuracy(*pair, bound=3)
        assert three == pytest.approx(toolkit["pairs/F_bound3px"][i], abs=1e-6), i


# --- The protocols ----------------------------------------------------------------------------


def test_2017_equals_a_loop_over_objects_and_frames_with_sparse_ids_and_void():
    truth = random_maps([0, 3, 17, 255])
    labels = np.roll(random_maps([0, 3, 17, 90]), 2, axis=2)
    got = evaluate_sequence(labels, truth)
    assert got.object_ids == (3, 17)
    for i, object_id in enumerate(got.object_ids):
        want = slow_scores(jaccard, labels, truth, object_id)
        np.testing.assert_allclose(got.jaccard[i], want)
        np.testing.assert_allclose(got.jaccard_statistics[i], slow_mean_recall_decay(want))
        want = slow_scores(contour_accuracy, labels, truth, object_id)
        np.testing.assert_allclose(got.contour_accuracy[i], want)
        np.testing.assert_allclose(got.contour_statistics[i], slow_mean_recall_decay(want))
    assert 0 < got.contour_accuracy.mean() < 1


def test_2016_scores_all_objects_as_one():
    truth, labels = random_maps([0, 0, 3, 17, 255]), np.roll(random_maps([0, 5]), 1, axis=2)
    got = evaluate_sequence(labels, truth, year=2016)
    one = np.where(truth == 255, 255, (truth > 0).astype(int))
    assert got.object_ids == (1,)
    np.testing.assert_allclose(got.jaccard[0], slow_scores(jaccard, labels > 0, one, 1))
    np.testing.assert_allclose(
        got.contour_accuracy[0], slow_scores(contour_accuracy, labels > 0, one, 1)
    )


def test_the_first_and_last_frame_do_not_count():
    truth = random_maps([0, 1, 2])
    labels = truth.copy()
    labels[[0, -1]] = 0
    got = evaluate_sequence(labels, truth)
    assert got.jaccard.shape == got.contour_accuracy.shape == (2, 4)
    assert (got.jaccard == 1).all()
    assert (got.contour_accuracy == 1).all()


def test_an_object_that_the_prediction_lacks_counts_as_empty():
    truth = random_maps([0, 3, 17])
    truth[3][truth[3] == 17] = 0
    got = evaluate_sequence(np.where(truth == 17, 0, truth), truth)
    assert (got.jaccard[0] == 1).all()
    assert got.jaccard[1].tolist() == [0, 0, 1, 0]  # 1 where the truth is empty too
    assert got.contour_accuracy[1].tolist() == [0, 0, 1, 0]


def test_an_object_that_the_truth_shows_later_is_not_scored():
    truth = random_maps([0, 1, 2])
    truth[0][truth[0] == 2] = 0
    assert evaluate_sequence(truth, truth).object_ids == (1,)


def test_lists_of_maps_are_taken_and_left_as_they_are():
    truth = [labels.astype(np.uint8) for labels in random_maps([0, 1, 255])]
    labels = [np.asfortranarray(labels.astype(np.int64)) for labels in random_maps([0, 1])]
    before = [labels.copy() for labels in truth + labels]
    got = evaluate_sequence(labels, truth)
    np.testing.assert_array_equal(got.jaccard, evaluate_sequence(np.stack(labels), truth).jaccard)
    for after, copy in zip(truth + labels, before, strict=True):
        np.testing.assert_array_equal(after, copy)


def test_the_summary_averages_over_objects_not_over_sequences():
    one = SequenceScores((1,), np.full((1, 3), 1.0), np.full((1, 3), 0.8))
    two = SequenceScores((1, 2), np.full((2, 9), 0.4), np.full((2, 9), 0.2))
    summary = summarise_davis([one, two])
    assert summary["J-Mean"] == pytest.approx(0.6)
    assert summary["F-Mean"] == pytest.approx(0.4)
    assert summary["J&F-Mean"] == pytest.approx(0.5)
    assert summary["J-Recall"] == pytest.approx(1 / 3)
    assert summary["F-Decay"] == 0


def test_statistics_of_nothing_are_nan_without_a_warning():
    assert np.isnan(mean_recall_decay([])).all()
    assert mean_recall_decay([np.nan, np.nan])[1] == 0


MAPS = random_maps([0, 1])


@pytest.mark.parametrize(
    ("labels", "truth", "options", "error", "message"),
    [
        (MAPS, MAPS, {"year": 2018}, ConfigError, "year is 2018; accepted: 2016 or 2017"),
        (MAPS[:5], MAPS, {}, ConfigError, "got 5 label maps for 6"),
        (MAPS[:2], MAPS[:2], {}, ConfigError, "at least 3"),
        (MAPS, 0 * MAPS, {}, MaskError, "first frame shows no object"),
        (MAPS * 255, MAPS * 255, {"year": 2016}, MaskError, "255, which is void. Read"),
        (MAPS > 0, MAPS, {}, MaskError, "prediction of frame 1 is bool"),
        (MAPS, MAPS.astype(float), {}, MaskError, "truth of frame 1 is float64"),
        (MAPS[:, :9], MAPS, {}, MaskError, r"\(9, 22\); accepted: integers \(17, 22\)"),
    ],
)
def test_what_cannot_be_scored_is_refused(labels, truth, options, error, message):
    with pytest.raises(error, match=message):
        evaluate_sequence(labels, truth, **options)


def test_a_summary_of_no_sequences_is_refused():
    with pytest.raises(ConfigError, match="no sequences"):
        summarise_davis([])
    assert average_rows([]) == {}  # of a benchmark whose clips have no true masks
