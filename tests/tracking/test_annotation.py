"""Boxes and clicks in sessions and videos; the prompter is a stand-in that can be predicted."""

import numpy as np
import pytest
import torch

import tiny
from rmnet.errors import ConfigError, MaskError, SessionError
from stand_in_prompter import Recorder, filled


@pytest.fixture
def segmenter():
    return tiny.segmenter()


@pytest.fixture
def clip():
    return tiny.clip()


def test_a_box_starts_a_track_like_the_mask_found_for_it(segmenter, clip):
    frames, _ = clip
    box = (12, 8, 32, 32)
    mask = filled(frames[0].shape[:2], box)
    by_box = segmenter.track(frames, boxes={5: box}, prompter=Recorder())
    assert np.array_equal(by_box.labels, segmenter.track(frames, {5: mask}).labels)
    assert by_box[0].object_ids == (5,)


def test_boxes_and_clicks_add_objects_beside_masks_at_any_frame(segmenter, clip):
    frames, labels = clip
    result = segmenter.track(
        frames,
        labels,
        boxes={2: {9: (60, 5, 80, 15)}},
        points={1: {8: [(30, 40, True)]}},
        prompter=Recorder(),
    )
    assert [r.object_ids for r in result[:3]] == [(3, 7), (3, 7, 8), (3, 7, 8, 9)]
    assert result[2].binary(9).sum() == 20 * 10


def test_a_click_corrects_an_object_from_its_present_mask(segmenter, clip):
    frames, labels = clip
    prompter = Recorder()
    session = segmenter.start(prompter=prompter)
    session.step(frames[0], labels)
    before = session.step(frames[1])
    after = session.correct(points={3: [(20, 20, False)]})
    _, _, points, masks = prompter.calls[0]
    assert points == {3: ((20, 20, False),)}
    assert list(masks) == [3]
    assert np.array_equal(masks[3], before.binary(3))
    assert not after.binary(3)[16:25, 16:25].any()
    assert np.array_equal(
        after.binary(3), before.binary(3) & ~filled(labels.shape, (16, 16, 25, 25))
    )


def test_a_click_in_step_corrects_what_is_found_in_that_frame(segmenter, clip):
    frames, labels = clip
    prompter = Recorder()
    plain, clicked = segmenter.start(), segmenter.start(prompter=prompter)
    for session in (plain, clicked):
        session.step(frames[0], labels)
    expected = plain.step(frames[1])
    clicked.step(frames[1], points={3: [(20, 20, False)]})
    assert np.array_equal(prompter.calls[0][3][3], expected.binary(3))


def test_a_correction_sees_the_frame_of_the_network_with_prompts_to_scale(segmenter):
    frames, labels = tiny.clip(size=(96, 128))
    prompter = Recorder()
    session = segmenter.start(size=48, prompter=prompter)
    session.step(frames[0], labels)
    result = session.add_objects(boxes={9: (4, 4, 24, 20)})
    frame, boxes, _, _ = prompter.calls[0]
    assert frame.shape == (48, 64, 3)
    assert boxes == {9: (2, 2, 12, 10)}
    assert np.array_equal(result.binary(9), filled((96, 128), (4, 4, 24, 20)))


def test_where_found_masks_overlap_the_smaller_one_is_in_front(segmenter, clip):
    frames, _ = clip
    session = segmenter.start(prompter=Recorder())
    result = session.step(frames[0], boxes={1: (10, 10, 20, 20), 2: (5, 5, 60, 50)})
    assert result.binary(1).sum() == 100
    assert result.binary(2).sum() == 55 * 45 - 100


def test_given_masks_are_in_front_of_found_ones(segmenter, clip):
    frames, labels = clip
    result = segmenter.start(prompter=Recorder()).step(frames[0], labels, boxes={9: (5, 5, 60, 50)})
    for object_id in (3, 7):
        assert np.array_equal(result.binary(object_id), labels == object_id)


@pytest.mark.parametrize(
    ("prompts", "error", "reason"),
    [
        ({"boxes": {9: (500, 5, 520, 15)}}, MaskError, "does not lie in the frame"),
        ({"boxes": {9: (0.1, 0.1, 0.4, 0.5)}}, MaskError, "smaller than a pixel"),
        ({"points": {9: [(20, 500, True)]}}, MaskError, "outside of the frame"),
        ({"points": {9: [(20, 20, False)]}}, MaskError, "only clicks beside it"),
        ({"points": {3: [(20, 20, True), (20, 20, False)]}}, MaskError, "one inside and one"),
        ({"boxes": [1, 2, 3, 4]}, MaskError, "boxes is a list"),
        ({}, SessionError, "no mask, box or click was given"),
    ],
)
@pytest.mark.parametrize("call", ["correct", "add_objects"])
def test_a_refused_prompt_loses_nothing(segmenter, clip, call, prompts, error, reason):
    frames, labels = clip
    session, untouched = segmenter.start(prompter=Recorder()), segmenter.start()
    for one in (session, untouched):
        one.step(frames[0], labels)
    if call == "add_objects" and 3 in prompts.get("points", {}):
        prompts = {"points": {4: prompts["points"][3]}}
    with pytest.raises(error, match=reason):
        getattr(session, call)(**prompts)
    assert np.array_equal(session.step(frames[1]).labels, untouched.step(frames[1]).labels)


def test_adding_an_object_that_is_tracked_is_refused(segmenter, clip):
    frames, labels = clip
    session = segmenter.start(prompter=Recorder())
    session.step(frames[0], labels)
    with pytest.raises(SessionError, match=r"\[3\] are already tracked.*correct"):
        session.add_objects(boxes={3: (12, 8, 32, 32)})


def test_a_refused_prompt_in_step_can_be_repeated(segmenter, clip):
    frames, labels = clip
    session, untouched = segmenter.start(prompter=Recorder()), segmenter.start()
    for one in (session, untouched):
        one.step(frames[0], labels)
    with pytest.raises(MaskError):
        session.step(frames[1], boxes={9: (500, 5, 520, 15)})
    assert np.array_equal(session.step(frames[1]).labels, untouched.step(frames[1]).labels)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({}, "returned NoneType for object 9"),
        (None, "returned NoneType for object 9"),
        ({9: np.zeros((5, 5), np.bool_)}, r"returned bool \(5, 5\)"),
        ({9: torch.ones(64, 96)}, "returned Tensor"),
        ({9: np.zeros((64, 96), np.bool_)}, "no pixel of object 9 was found"),
    ],
)
def test_a_prompter_that_answers_something_else_is_named(segmenter, clip, answer, reason):
    frames, _ = clip
    assert frames[0].shape[:2] == (64, 96)
    session = segmenter.start(prompter=lambda *_: answer)
    with pytest.raises(MaskError, match=reason):
        session.step(frames[0], boxes={9: (10, 10, 20, 20)})
    assert session.frame_index is None


def test_an_object_takes_a_mask_or_prompts_of_one_frame(segmenter, clip):
    frames, labels = clip
    with pytest.raises(MaskError, match=r"objects \[3\] have a mask and a box or clicks"):
        segmenter.track(frames, labels, boxes={3: (12, 8, 32, 32)})


def test_prompts_of_a_video_are_checked_before_any_frame_is_read(segmenter, clip):
    frames, labels = clip

    def unread():
        raise AssertionError("a frame was read")
        yield frames[0]

    with pytest.raises(MaskError, match="empty or reversed"):
        segmenter.track(unread(), labels, boxes={4: {9: (30, 5, 20, 15)}})
    with pytest.raises(ConfigError, match=r"boxes=\{0: \{1"):
        segmenter.track(unread(), boxes={0: {9: (3, 5, 20, 15)}, 1: (3, 5, 20, 15)})


def test_a_box_that_comes_later_leaves_earlier_frames_empty(segmenter, clip):
    frames, _ = clip
    result = segmenter.track(frames, boxes={2: {1: (12, 8, 32, 32)}}, prompter=Recorder())
    assert [r.object_ids for r in result[:3]] == [(), (), (1,)]
    assert not result[0].labels.any()
