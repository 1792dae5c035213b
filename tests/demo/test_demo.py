"""The demo clip: what it promises to show, and how it is scored."""

from __future__ import annotations

import numpy as np
import pytest

from rmnet.demo import make_clip, score
from rmnet.errors import ConfigError

IDS = {1, 2, 3}


@pytest.fixture(scope="module")
def clip():
    return make_clip(num_frames=24, size=(72, 128))


def frames_with(labels, object_id):
    return [t for t in range(len(labels)) if (labels[t] == object_id).any()]


def test_clip_is_the_same_for_the_same_seed(clip):
    again = make_clip(num_frames=24, size=(72, 128))
    assert (clip.frames == again.frames).all()
    assert (clip.labels == again.labels).all()


def test_clip_is_another_for_another_seed(clip):
    other = make_clip(1, num_frames=24, size=(72, 128))
    assert (clip.frames != other.frames).mean() > 0.5
    assert (clip.labels != other.labels).any()


def test_clip_has_the_size_that_was_asked_for(clip):
    assert clip.frames.shape == (24, 72, 128, 3)
    assert clip.frames.dtype == np.uint8
    assert clip.labels.shape == (24, 72, 128)
    assert clip.labels.dtype == np.int32


def test_labels_hold_the_three_ids(clip):
    assert set(np.unique(clip.labels).tolist()) == {0, *IDS}


@pytest.mark.parametrize("size", [(72, 128), (64, 64), (128, 72)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_object_is_whole_in_the_first_frame(seed, size):
    first = make_clip(seed, num_frames=1, size=size).labels[0]
    border = np.concatenate((first[0], first[-1], first[:, 0], first[:, -1]))
    assert set(np.unique(first).tolist()) == {0, *IDS}
    assert not border.any()


@pytest.mark.parametrize("size", [(72, 128), (64, 64), (128, 72)])
def test_object_3_leaves_and_comes_back_and_the_others_stay(size):
    labels = make_clip(num_frames=24, size=size).labels
    shown = frames_with(labels, 3)
    away = sorted(set(range(24)) - set(shown))
    assert len(away) >= 3
    assert away == list(range(away[0], away[-1] + 1))
    assert shown[0] == 0
    assert shown[-1] == 23
    assert frames_with(labels, 1) == frames_with(labels, 2) == list(range(24))


def test_object_2_is_partly_hidden_by_object_1(clip):
    area = (clip.labels == 2).sum(axis=(1, 2))
    hidden = int(area.argmin())
    assert area[hidden] < 0.7 * area[0]
    two, one = clip.labels[hidden] == 2, clip.labels[hidden] == 1
    assert (two[1:] & one[:-1]).any()  # they touch


def test_labels_are_where_the_colours_are(clip):
    means = {i: clip.frames[0][clip.labels[0] == i].mean(axis=0) for i in IDS}
    assert means[1].argmax() == 0  # orange
    assert means[2].argmax() == 2  # blue
    assert means[3].argmax() == 0  # red
    assert means[1][1] > means[1][2]
    assert means[3][1] < means[3][2]


def test_clip_of_a_wrong_size_is_refused():
    with pytest.raises(ConfigError, match="from 32 px"):
        make_clip(size=(16, 64))
    with pytest.raises(ConfigError, match="num_frames=0"):
        make_clip(num_frames=0)


def test_truth_scores_one(clip):
    scores = {one.object_id: one for one in score(clip.labels, clip.labels)}
    assert set(scores) == IDS
    assert all(one.jaccard == 1 for one in scores.values())


def test_frames_without_the_object_do_not_count(clip):
    labels = clip.labels.copy()
    away = [t for t in range(24) if not (labels[t] == 3).any()]
    labels[away] = 3
    scores = {one.object_id: one for one in score(labels, clip.labels)}
    assert scores[3].jaccard == 1
    assert scores[3].frames == 23 - len(away)


def test_object_that_is_not_found_again_scores_less(clip):
    labels = clip.labels.copy()
    labels[12:][labels[12:] == 3] = 0
    scores = {one.object_id: one for one in score(labels, clip.labels)}
    assert scores[3].jaccard < 1
