"""Tracking backward, and in both directions."""

import gc
import weakref
from contextlib import closing
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from rmnet import MemoryPolicy
from rmnet.errors import ConfigError, FrameError, MaskError, VideoError
from rmnet.io.frame_source import FrameSource
from rmnet.io.reverse import CHUNK
from rmnet.tracking.plan import Plan
from stand_in_prompter import Recorder, filled

FRAMES, LABELS = tiny.clip(num_frames=14)
THREE, SEVEN = {3: LABELS == 3}, {7: LABELS == 7}


@pytest.fixture(scope="module")
def segmenter():
    return tiny.segmenter()


def assert_same(found, expected):
    """Results are equal byte for byte, apart from their numbers and times."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert (one.object_ids, one.status) == (other.object_ids, other.status)
        for name in ("labels", "scores", "boxes", "regions"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
        assert (one.probabilities is None) == (other.probabilities is None)
        if one.probabilities is not None:
            assert torch.equal(one.probabilities, other.probabilities)


# --- the plan ------------------------------------------------------------------------------------

MASKS = st.dictionaries(
    st.integers(0, 20), st.sets(st.integers(1, 3), min_size=1), min_size=1, max_size=6
)


@given(MASKS, st.sampled_from(["forward", "backward", "both"]))
def test_each_object_is_answered_from_its_nearest_mask_in_the_allowed_directions(masks, direction):
    nothing = {}
    plan = Plan.make(
        nothing if direction == "backward" else masks, nothing if direction == "forward" else masks
    )
    for frame in range(25):
        answers = plan.answers(frame)
        for i in (1, 2, 3):
            allowed = [
                mask
                for mask, ids in masks.items()
                if i in ids
                and (direction != "forward" or mask <= frame)
                and (direction != "backward" or mask >= frame)
            ]
            nearest = min(allowed, key=lambda mask: (abs(mask - frame), mask), default=None)
            is_ahead = nearest is not None and (nearest < frame or nearest == frame)
            if direction == "backward":
                is_ahead = False
            assert (i in answers.forward) == is_ahead
            assert (i in answers.backward) == (nearest is not None and not is_ahead)


@given(MASKS)
def test_a_pass_follows_an_object_from_its_mask_without_a_gap(masks):
    plan = Plan.make(masks, masks)
    visited = set(plan.backward_frames)
    assert list(plan.backward_frames) == sorted(visited, reverse=True)
    for frame in range(25):
        answers = plan.answers(frame)
        for i in answers.backward:
            mask = min(m for m, ids in masks.items() if i in ids and m > frame)
            assert visited.issuperset(range(frame, mask + 1))
        for i in answers.forward:
            mask = max(m for m, ids in masks.items() if i in ids and m <= frame)
            assert all(plan.answers(t).forward for t in range(mask, frame + 1))


@given(MASKS)
def test_a_pass_visits_what_it_answers_and_every_mask_on_the_way(masks):
    plan = Plan.make(masks, masks)
    answered = {frame for frame in range(25) if plan.answers(frame).backward}
    on_the_way = {frame for frame in masks if frame > min(answered, default=99)}
    assert set(plan.backward_frames) == answered | on_the_way
    assert all(plan.answers(frame).forward for frame in masks)
    both = any(plan.answers(t).forward and plan.answers(t).backward for t in range(25))
    assert plan.is_mixed == both


# --- backward ------------------------------------------------------------------------------------


def test_backward_equals_the_reversed_video_tracked_forward_byte_for_byte(segmenter):
    options = {"memory": MemoryPolicy(every=3), "keep_probabilities": True}
    given_masks = {13: THREE, 9: {**SEVEN, 3: LABELS == 3}, 4: SEVEN}
    found = segmenter.track(FRAMES, masks=given_masks, direction="backward", **options)
    mirrored = {13 - frame: mask for frame, mask in given_masks.items()}
    expected = segmenter.track(FRAMES[::-1], masks=mirrored, **options)
    assert [result.index for result in found] == list(range(14))
    assert_same(found[::-1], expected)


def test_frames_after_the_last_mask_are_background(segmenter):
    found = segmenter.track(FRAMES, masks={5: LABELS}, direction="backward")
    assert len(found) == 14
    assert all(result.object_ids == (3, 7) for result in found[:6])
    assert all(result.object_ids == () and not result.labels.any() for result in found[6:])
    np.testing.assert_array_equal(found[5].labels, LABELS)


def test_flow_gets_the_current_and_the_previous_frame_in_the_order_of_tracking(segmenter):
    seen = []

    def flow(current, previous):
        seen.append((number_of(current), number_of(previous)))
        return np.zeros((2, *current.shape[:2]), np.float32)

    segmenter.track(FRAMES, masks={4: LABELS}, direction="both", flow=flow, size="native")
    assert seen == [(t, t + 1) for t in (3, 2, 1, 0)] + [(t, t - 1) for t in range(5, 14)]


def number_of(frame):
    return next(i for i, one in enumerate(FRAMES) if np.array_equal(frame, one))


# --- both ----------------------------------------------------------------------------------------


def test_both_from_one_mask_is_backward_before_it_and_forward_from_it_on(segmenter):
    options = {"masks": {6: LABELS}, "keep_probabilities": True}
    found = segmenter.track(FRAMES, direction="both", **options)
    assert_same(found[:6], segmenter.track(FRAMES, direction="backward", **options)[:6])
    assert_same(found[6:], segmenter.track(FRAMES, **options)[6:])


@pytest.mark.parametrize("source", [FRAMES, list(FRAMES)], ids=["array", "list"])
def test_both_from_the_first_frame_is_forward(segmenter, source):
    assert_same(segmenter.track(source, LABELS, direction="both"), segmenter.track(source, LABELS))


def test_forward_is_what_a_session_gives_step_by_step(segmenter):
    session = segmenter.start(first_index=2)
    expected = [session.step(FRAMES[2], LABELS)]
    expected += [session.step(frame, SEVEN if t == 9 else None) for t, frame in later(3)]
    masks = {2: LABELS, 9: SEVEN}
    assert_same(segmenter.track(FRAMES, masks=masks, direction="forward")[2:], expected)
    assert_same(segmenter.track(FRAMES, masks=masks)[2:], expected)


def later(first):
    return list(enumerate(FRAMES))[first:]


def test_masks_at_both_ends_meet_in_the_middle_and_no_frame_is_tracked_twice(segmenter):
    steps = []

    def flow(current, previous):
        steps.append(number_of(current))
        return np.zeros((2, *current.shape[:2]), np.float32)

    options = {"flow": flow, "size": "native"}
    masks = {0: LABELS, 12: LABELS}
    found = segmenter.track(FRAMES, masks=masks, direction="both", **options)
    assert steps == [11, 10, 9, 8, 7, 1, 2, 3, 4, 5, 6, 12, 13]
    assert_same(found[:7], segmenter.track(FRAMES, LABELS, **options)[:7])
    alone = segmenter.track(FRAMES, masks={12: LABELS}, direction="backward", **options)
    assert_same(found[7:12], alone[7:12])
    np.testing.assert_array_equal(found[12].labels, LABELS)


def test_after_a_gap_a_pass_goes_on_with_its_memory_and_the_objects_given_there(segmenter):
    masks = {0: LABELS, 9: SEVEN, 12: THREE}
    found = segmenter.track(FRAMES, masks=masks, direction="both")
    session = segmenter.start()
    session.step(FRAMES[0], LABELS)
    for t in range(1, 7):  # object 3 of frame 6 is as near to frame 12
        session.step(FRAMES[t])
    session.skip()
    session.skip()
    session.remove_objects(3)
    assert_same([session.step(FRAMES[9], SEVEN)], segmenter_part(found[9], 7))


def segmenter_part(result, object_id):
    """A mixed result with one of its objects, whose probabilities were not disturbed."""
    row = result.object_ids.index(object_id)
    return [
        type(result)(
            index=result.index,
            labels=np.where(result.labels == object_id, object_id, 0).astype(np.int32),
            object_ids=(object_id,),
            scores=result.scores[row : row + 1],
            status=result.status[row : row + 1],
            boxes=result.boxes[row : row + 1],
            regions=result.regions[row : row + 1],
        )
    ]


def test_objects_of_both_passes_compete_again_for_the_pixels_of_a_frame(segmenter):
    masks = {2: THREE, 10: SEVEN}
    options = {"masks": masks, "direction": "both"}
    found = segmenter.track(FRAMES, **options, keep_probabilities=True)
    forward = segmenter.track(FRAMES, masks={2: THREE}, keep_probabilities=True)
    backward = segmenter.track(
        FRAMES, masks={10: SEVEN}, direction="backward", keep_probabilities=True
    )
    for t in range(3, 10):  # in frame 2 the backward pass is given object 3 too
        assert found[t].object_ids == (3, 7)
        three, seven = forward[t].probabilities[1], backward[t].probabilities[1]
        parts = torch.stack([(1 - three) * (1 - seven), three, seven])
        expected = parts / parts.sum(dim=0)
        torch.testing.assert_close(found[t].probabilities, expected)
        labels = np.array([0, 3, 7])[found[t].probabilities.argmax(dim=0).numpy()]
        np.testing.assert_array_equal(found[t].labels, labels)
        assert found[t].status == forward[t].status + backward[t].status
        assert found[t].region(7) == backward[t].region(7)
        assert found[t].region(3) == forward[t].region(3)
    np.testing.assert_array_equal(found[2].binary(3), LABELS == 3)
    without = segmenter.track(FRAMES, **options)
    assert all(result.probabilities is None for result in without)
    for one, other in zip(without, found, strict=True):
        np.testing.assert_array_equal(one.labels, other.labels)


@settings(deadline=None, max_examples=30)
@given(masks=st.dictionaries(st.integers(0, 5), st.sampled_from([3, 7, 37]), min_size=1))
def test_results_ascend_once_per_frame_and_given_masks_come_back(masks):
    shapes = {3: THREE, 7: SEVEN, 37: THREE | SEVEN}
    segmenter = tiny.segmenter()
    found = segmenter.track(
        FRAMES[:6], masks={t: shapes[x] for t, x in masks.items()}, direction="both"
    )
    assert [result.index for result in found] == list(range(6))
    for t, x in masks.items():
        for i, mask in shapes[x].items():
            np.testing.assert_array_equal(found[t].binary(i), mask)
    all_ids = {i for x in masks.values() for i in shapes[x]}
    assert all(set(result.object_ids) == all_ids for result in found)


# --- empty masks, late masks, unreadable frames, refused input -----------------------------------


def test_an_empty_mask_corrects_the_pass_that_follows_the_object_and_starts_no_other(segmenter):
    gone = {3: np.zeros(LABELS.shape, bool)}
    found = segmenter.track(FRAMES, masks={0: THREE, 8: gone}, direction="both")
    expected = segmenter.track(FRAMES, masks={0: THREE, 8: gone})
    assert_same(found, expected)
    with pytest.raises(MaskError, match=r"objects \[3\] have no pixels in any of their masks"):
        segmenter.track(FRAMES, masks={8: gone}, direction="both")


@pytest.mark.parametrize("direction", ["backward", "both"])
def test_masks_after_the_end_are_left_out_with_a_warning(segmenter, direction):
    with pytest.warns(UserWarning, match=r"for frames \[20\], but the video has 14 frames"):
        found = segmenter.track(FRAMES, masks={5: THREE, 20: THREE}, direction=direction)
    assert_same(found, segmenter.track(FRAMES, masks={5: THREE}, direction=direction))
    with pytest.warns(UserWarning, match=r"for frames \[14\]"):
        found = segmenter.track(FRAMES, masks={14: THREE}, direction=direction)
    assert [result.object_ids for result in found] == [()] * 14


def with_bad_frames(*bad):
    def read():
        for index, frame in enumerate(FRAMES):
            yield (VideoError(f"frame {index} is damaged") if index in bad else frame), index / 10

    return FrameSource(read)


def test_skipped_frames_keep_their_places_in_both_passes(segmenter):
    found = segmenter.track(
        with_bad_frames(2, 9), masks={5: LABELS}, direction="both", on_bad_frame="skip"
    )
    assert {r.index: r.skipped for r in found if r.skipped} == {
        2: "frame 2 is damaged",
        9: "frame 9 is damaged",
    }
    assert found[2].status == found[9].status == ("skipped", "skipped")
    assert [result.seconds for result in found] == [t / 10 for t in range(14)]
    session = segmenter.start()
    session.step(FRAMES[5], LABELS)
    session.step(FRAMES[4])
    session.step(FRAMES[3])
    session.skip()
    assert_same([found[1]], [session.step(FRAMES[1])])


def test_an_unreadable_frame_stops_a_pass_unless_skipped_and_always_at_a_mask(segmenter):
    for bad, on_bad_frame in ((2, "stop"), (5, "skip")):
        with pytest.raises(VideoError, match=f"frame {bad} is damaged"):
            segmenter.track(
                with_bad_frames(bad), masks={5: LABELS}, direction="both", on_bad_frame=on_bad_frame
            )


def test_a_frame_of_another_size_is_named_by_its_number_in_the_video(segmenter):
    frames = list(FRAMES)
    frames[3] = frames[3][:32]
    with pytest.raises(FrameError, match=r"frame 3 is \(32, 96\)"):
        segmenter.track(frames, masks={5: LABELS}, direction="backward")


def test_generators_and_unknown_directions_are_refused_at_once(segmenter):
    for direction in ("backward", "both"):
        with pytest.raises(ConfigError, match=r"Write list\(frames\)"):
            segmenter.stream(iter(FRAMES), LABELS, direction=direction)
    with pytest.raises(ConfigError, match='accepted: "forward", "backward" or "both"'):
        segmenter.stream(FRAMES, LABELS, direction="sideways")


# --- memory --------------------------------------------------------------------------------------


class Watched(np.ndarray):
    """A frame that can be watched."""

    __hash__ = object.__hash__


@pytest.mark.parametrize("direction", ["backward", "both"])
def test_a_chunk_of_frames_is_alive_at_a_time(segmenter, direction):
    alive, most = weakref.WeakSet(), []

    def read():
        for t in range(3 * CHUNK):
            frame = FRAMES[t % 14].copy().view(Watched)
            alive.add(frame)
            most.append(len(alive))
            yield frame, None

    gc.collect()
    masks = {3 * CHUNK - 1: LABELS}
    with closing(segmenter.stream(FrameSource(read), masks=masks, direction=direction)) as results:
        for one, other in pairwise(results):
            assert other.index == one.index + 1
    assert max(most) <= CHUNK + 3


def test_a_stream_that_is_closed_leaves_no_file_open(segmenter):
    closed = []

    def read():
        try:
            yield from ((frame, None) for frame in FRAMES)
        finally:
            closed.append(True)

    results = segmenter.stream(FrameSource(read), masks={13: LABELS}, direction="backward")
    next(results)
    started = len(closed)
    results.close()
    assert len(closed) == started + 1


# --- boxes and clicks ----------------------------------------------------------------------------

BOX = (12, 8, 32, 32)


@pytest.mark.parametrize("direction", ["backward", "both"])
def test_a_box_in_the_middle_is_followed_like_the_mask_found_for_it(segmenter, direction):
    prompter = Recorder()
    found = segmenter.track(FRAMES, boxes={6: {5: BOX}}, prompter=prompter, direction=direction)
    masks = {6: {5: filled(LABELS.shape, BOX)}}
    assert_same(found, segmenter.track(FRAMES, masks=masks, direction=direction))
    assert len(found) == 14
    np.testing.assert_array_equal(found[6].binary(5), masks[6][5])
    # A pass asks for itself; both see the frame that the box is of.
    assert {number_of(frame) for frame, *_ in prompter.calls} == {6}


@pytest.mark.parametrize("direction", ["backward", "both"])
@pytest.mark.parametrize("masks", [None, {10: THREE}], ids=["alone", "beside masks"])
def test_boxes_and_clicks_of_several_frames_stand_for_masks(segmenter, direction, masks):
    found = segmenter.track(
        FRAMES,
        masks=masks,
        boxes={4: {5: BOX}},
        points={4: {8: [(70, 20, True)]}, 9: {9: [(50, 10, True), (53, 10, False)]}},
        prompter=Recorder(),
        direction=direction,
    )
    click = filled(LABELS.shape, (46, 6, 49, 15))
    given_masks = {
        **(masks or {}),
        4: {5: filled(LABELS.shape, BOX), 8: filled(LABELS.shape, (66, 16, 75, 25))},
        9: {9: click},
    }
    assert_same(found, segmenter.track(FRAMES, masks=given_masks, direction=direction))
    np.testing.assert_array_equal(found[9].binary(9), click)


def test_a_click_beside_an_object_corrects_each_pass_that_follows_it(segmenter):
    beside = {7: {3: [(20, 20, False)]}}
    for masks, direction in (({0: THREE}, "forward"), ({12: THREE}, "backward")):
        prompter, options = Recorder(), {"masks": masks, "direction": direction}
        plain = segmenter.track(FRAMES, **options)
        found = segmenter.track(FRAMES, points=beside, prompter=prompter, **options)
        [(_, _, _, present)] = prompter.calls
        np.testing.assert_array_equal(present[3], plain[7].binary(3))
        corrected = present[3] & ~filled(LABELS.shape, (16, 16, 25, 25))
        np.testing.assert_array_equal(found[7].binary(3), corrected)
        assert_same(
            found,
            segmenter.track(FRAMES, masks={**masks, 7: {3: corrected}}, direction=direction),
        )


def test_clicks_beside_an_object_start_no_pass(segmenter):
    beside = {8: {3: [(20, 20, False)]}}
    options = {"masks": {0: THREE}, "points": beside}
    expected = segmenter.track(FRAMES, prompter=Recorder(), **options)
    found = segmenter.track(FRAMES, prompter=Recorder(), direction="both", **options)
    assert_same(found, expected)
    with pytest.raises(MaskError, match=r"objects \[3\] have"):
        segmenter.track(FRAMES, points=beside, prompter=Recorder(), direction="both")


@pytest.mark.parametrize("direction", ["backward", "both"])
def test_without_masks_a_frame_of_another_size_is_named(segmenter, direction):
    frames = list(FRAMES)
    frames[3] = frames[3][:32]
    with pytest.raises(FrameError, match=r"frame 3 is \(32, 96\)"):
        segmenter.track(frames, boxes={5: {1: BOX}}, prompter=Recorder(), direction=direction)


@pytest.mark.parametrize("direction", ["backward", "both"])
def test_without_masks_skipped_frames_have_the_size_of_the_others(segmenter, direction):
    options = {"prompter": Recorder(), "direction": direction, "on_bad_frame": "skip"}
    found = segmenter.track(with_bad_frames(0, 2, 9), boxes={5: {1: BOX}}, **options)
    assert [result.index for result in found if result.skipped] == [0, 2, 9]
    assert {result.labels.shape for result in found} == {LABELS.shape}


@pytest.mark.parametrize("direction", ["backward", "both"])
def test_a_box_outside_of_its_frame_is_refused(segmenter, direction):
    with pytest.raises(MaskError, match="96 px wide and 64 px high"):
        segmenter.track(
            FRAMES, boxes={5: {1: (12, 8, 300, 200)}}, prompter=Recorder(), direction=direction
        )
