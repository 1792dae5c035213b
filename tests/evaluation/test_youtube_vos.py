"""The protocol of YouTube-VOS, against a slow loop and by its rules one by one."""

import json

import numpy as np
import pytest

from rmnet.errors import ConfigError, MaskError
from rmnet.evaluation import (
    MetaObject,
    ObjectScore,
    read_meta,
    score_objects,
    summarise_youtube_vos,
)
from rmnet.evaluation.youtube_vos import first_masks
from rmnet.metrics import contour_accuracy, jaccard

NAMES = ("00000", "00005", "00010", "00015")


def maps(seed, ids=(0, 1, 2)):
    """Label maps of blobs by name."""
    coarse = np.random.default_rng(seed).choice(np.array(ids, np.uint8), (len(NAMES), 6, 8))
    labels = coarse.repeat(3, axis=1).repeat(3, axis=2)
    return dict(zip(NAMES, labels, strict=True))


def slow_score(predictions, truth, object_id, names):
    pairs = [(predictions[name] == object_id, truth[name] == object_id) for name in names]
    region = [jaccard(*pair) for pair in pairs]
    contour = [contour_accuracy(*pair) for pair in pairs]
    return sum(region) / len(region), sum(contour) / len(contour), len(pairs)


@pytest.fixture
def truth():
    labels = maps(0)
    labels["00000"][labels["00000"] == 2] = 0  # object 2 appears in the second frame
    return labels


def test_an_objects_frames_are_the_annotated_ones_after_its_first(truth):
    predictions = maps(1)
    objects = {1: MetaObject("dog", NAMES), 2: MetaObject("ape", NAMES[1:])}
    scores = score_objects(predictions, truth, objects)
    assert scores[1] == pytest.approx(slow_score(predictions, truth, 1, NAMES[1:]))
    assert scores[2] == pytest.approx(slow_score(predictions, truth, 2, NAMES[2:]))


def test_only_frames_that_meta_json_gives_an_object_count(truth):
    predictions = maps(1)
    scores = score_objects(predictions, truth, {1: MetaObject("dog", (NAMES[0], NAMES[2]))})
    assert scores[1] == pytest.approx(slow_score(predictions, truth, 1, NAMES[2:3]))


def test_without_lists_of_frames_all_annotated_ones_count(truth):
    predictions = maps(1)
    scores = score_objects(predictions, truth, {2: MetaObject("dog", ())})
    assert scores[2] == pytest.approx(slow_score(predictions, truth, 2, NAMES[2:]))


def test_void_does_not_count(truth):
    predictions = {name: labels.copy() for name, labels in truth.items()}
    for name in NAMES:
        truth[name][:4] = 255
        predictions[name][:4] = 1
    score = score_objects(predictions, truth, {1: MetaObject("dog", NAMES)})[1]
    assert score == (1, 1, 3)


def test_an_object_with_no_frame_to_be_found_in_has_no_score(truth):
    score = score_objects(maps(1), truth, {1: MetaObject("dog", NAMES[:1])})[1]
    assert score == (None, None, 0)


def test_a_missing_prediction_is_an_error(truth):
    predictions = maps(1)
    del predictions["00010"]
    with pytest.raises(MaskError, match="'00010' has no prediction"):
        score_objects(predictions, truth, {1: MetaObject("dog", NAMES)})


def test_each_object_is_given_where_it_is_first_seen_and_never_again(truth):
    masks = first_masks(truth, [1, 2])
    assert {name: list(given) for name, given in masks.items()} == {"00000": [1], "00005": [2]}
    assert (masks["00005"][2] == (truth["00005"] == 2)).all()


def test_ids_that_meta_json_lacks_are_not_given(truth):
    assert [list(given) for given in first_masks(truth, [2]).values()] == [[2]]


def test_an_object_that_is_never_shown_is_named(truth):
    with pytest.raises(MaskError, match=r"no annotation shows the objects \[9\]"):
        first_masks(truth, [1, 9])


def test_seen_and_unseen_are_averaged_apart_and_overall_is_the_mean_of_the_four():
    scores = [
        ("dog", ObjectScore(0.8, 0.6, 3)),
        ("dog", ObjectScore(0.6, 0.8, 9)),
        ("ape", ObjectScore(0.2, 0.4, 5)),
        ("ape", ObjectScore(None, None, 0)),
    ]
    means = summarise_youtube_vos(scores, unseen={"ape"})
    assert means == pytest.approx(
        {"Overall": 0.5, "J-Seen": 0.7, "F-Seen": 0.7, "J-Unseen": 0.2, "F-Unseen": 0.4}
    )
    assert list(means) == ["Overall", "J-Seen", "F-Seen", "J-Unseen", "F-Unseen"]


def test_without_unseen_objects_overall_is_the_mean_of_the_seen():
    means = summarise_youtube_vos([("dog", ObjectScore(0.8, 0.6, 3))], unseen=())
    assert means == pytest.approx({"Overall": 0.7, "J-Seen": 0.8, "F-Seen": 0.6})
    assert summarise_youtube_vos([], unseen=()) == {}


def test_meta_json_is_read_with_ids_as_numbers(tmp_path):
    objects = {"10": {"category": "ape"}, "2": {"category": "dog", "frames": ["00005", "00000"]}}
    (tmp_path / "meta.json").write_text(json.dumps({"videos": {"a": {"objects": objects}}}))
    meta = read_meta(tmp_path / "meta.json")
    assert list(meta["a"].items()) == [
        (2, MetaObject("dog", ("00000", "00005"))),
        (10, MetaObject("ape", ())),
    ]


@pytest.mark.parametrize("text", ["", "[]", '{"videos": []}', '{"videos": {"a": {}}}'])
def test_a_bad_meta_json_says_what_is_accepted(tmp_path, text):
    (tmp_path / "meta.json").write_text(text)
    with pytest.raises(ConfigError, match=r"meta\.json.*accepted: .*\"videos\""):
        read_meta(tmp_path / "meta.json")


def test_a_missing_meta_json_says_so(tmp_path):
    with pytest.raises(ConfigError, match=r"meta\.json' cannot be understood \(FileNotFound"):
        read_meta(tmp_path / "meta.json")
