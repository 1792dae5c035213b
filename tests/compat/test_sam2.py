"""The drop-in for SAM 2's video predictor: its calls, its shapes, and our masks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from PIL import Image

import tiny
from rmnet.compat.sam2 import SAM2VideoPredictor, build_sam2_video_predictor
from rmnet.compat.sam2.frames import VideoFrames
from rmnet.compat.sam2.logits import competing_logits, pack, unpack
from rmnet.demo import make_clip
from rmnet.errors import ConfigError, MaskError, SessionError, VideoError
from rmnet.io import VideoWriter, open_frames
from rmnet.tracking import TrackingSession

H, W = 64, 96


class FakePrompter:
    """Fills boxes, and 13 px squares around clicks on the object, and cuts those beside it."""

    def __init__(self):
        self.calls = []

    def __call__(self, frame, boxes, points, masks):
        self.calls.append((frame, dict(boxes), dict(points), dict(masks)))
        found = {}
        for i in {*boxes, *points}:
            mask = masks[i].copy() if i in masks else np.zeros(frame.shape[:2], np.bool_)
            if i in boxes:
                x0, y0, x1, y1 = (round(x) for x in boxes[i])
                mask[y0:y1, x0:x1] = True
            for x, y, inside in points.get(i, ()):
                top, left = max(int(y) - 6, 0), max(int(x) - 6, 0)
                mask[top : int(y) + 7, left : int(x) + 7] = inside
            found[i] = mask
        return found


@pytest.fixture
def clip():
    return tiny.clip(8)


@pytest.fixture
def prompter():
    return FakePrompter()


@pytest.fixture
def predictor(prompter):
    return SAM2VideoPredictor(tiny.segmenter(), prompter=prompter)


@pytest.fixture
def state(predictor, clip):
    return predictor.init_state(clip[0])


def give(predictor, state, masks):
    """Give label maps {frame: (H, W)} as masks of their objects."""
    for frame, labels in masks.items():
        for i in np.unique(labels)[1:].tolist():
            predictor.add_new_mask(state, frame, i, labels == i)


def label_maps(results):
    """Return {frame: label map}, after checking the shapes and that no objects overlap."""
    maps = {}
    for frame, ids, logits in results:
        assert logits.shape == (len(ids), 1, H, W)
        assert logits.dtype == torch.float32
        masks = (logits[:, 0] > 0).numpy()
        assert masks.sum(axis=0).max() <= 1
        assert frame not in maps
        maps[frame] = sum(i * mask for i, mask in zip(ids, masks, strict=True))
    return maps


def assert_equal_maps(given, wanted):
    assert list(given) == list(wanted)
    for frame, labels in wanted.items():
        np.testing.assert_array_equal(given[frame], labels, err_msg=f"frame {frame}")


def tracked(frames, masks):
    results = tiny.segmenter().track(frames, masks=masks)
    return {r.index: r.labels for r in results}


# --- The calls of SAM 2's video notebook ---------------------------------------------------------


def test_the_call_sequence_of_the_video_notebook_runs(tmp_path, predictor, clip):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, frame in enumerate(clip[0]):
        Image.fromarray(frame).save(folder / f"{number}.jpg", quality=95)
    inference_state = predictor.init_state(video_path=str(folder))

    def add(obj_id, frame_idx=0, **prompts):
        at, out_obj_ids, out_mask_logits = predictor.add_new_points_or_box(
            inference_state=inference_state, frame_idx=frame_idx, obj_id=obj_id, **prompts
        )
        assert at == frame_idx
        assert out_mask_logits.shape == (len(out_obj_ids), 1, H, W)
        shown = {i: (out_mask_logits[n] > 0.0).cpu().numpy() for n, i in enumerate(out_obj_ids)}
        assert shown[obj_id].shape == (1, H, W)
        assert shown[obj_id].any()
        return shown

    def propagate():
        video_segments = {}
        for out_frame_idx, out_obj_ids, out_mask_logits in predictor.propagate_in_video(
            inference_state
        ):
            video_segments[out_frame_idx] = {
                out_obj_id: (out_mask_logits[i] > 0.0).cpu().numpy()
                for i, out_obj_id in enumerate(out_obj_ids)
            }
        vis_frame_stride = 3
        for out_frame_idx in range(0, len(clip[0]), vis_frame_stride):
            for out_mask in video_segments[out_frame_idx].values():
                h, w = out_mask.shape[-2:]
                colour = np.array([0.1, 0.2, 0.3, 0.6])
                assert (out_mask.reshape(h, w, 1) * colour.reshape(1, 1, -1)).shape == (H, W, 4)
        return video_segments

    # Example 1: one object, by a click and then a second one.
    one = add(1, points=np.array([[21, 35]], dtype=np.float32), labels=np.array([1], np.int32))
    points = np.array([[21, 35], [25, 22]], dtype=np.float32)
    two = add(1, points=points, labels=np.array([1, 1], np.int32))
    assert two[1].sum() > one[1].sum()
    segments = propagate()
    assert list(segments) == list(range(8))
    np.testing.assert_array_equal(segments[0][1], two[1])
    # A correction of a frame that has been tracked.
    points = np.array([[82, 41]], dtype=np.float32)
    after = add(1, frame_idx=5, points=points, labels=np.array([0], np.int32))
    assert not after[1][0, 41, 82]
    segments = propagate()
    np.testing.assert_array_equal(segments[5][1], after[1])
    np.testing.assert_array_equal(segments[0][1], two[1])

    # Example 2: a box, and then a click.
    predictor.reset_state(inference_state)
    box = np.array([30, 0, 50, 40], dtype=np.float32)
    boxed = add(4, box=box)
    assert boxed[4].sum() == 20 * 40
    points = np.array([[46, 6]], dtype=np.float32)
    clicked = add(4, points=points, labels=np.array([1], np.int32), box=box)
    assert clicked[4].sum() > boxed[4].sum()
    assert list(propagate()[7]) == [4]

    # Example 3: two objects.
    predictor.reset_state(inference_state)
    add(2, points=np.array([[20, 30]], np.float32), labels=np.array([1], np.int32))
    points = np.array([[20, 30], [27, 17]], dtype=np.float32)
    add(2, points=points, labels=np.array([1, 0], np.int32))
    shown = add(3, points=np.array([[40, 15]], np.float32), labels=np.array([1], np.int32))
    assert list(shown) == [2, 3]
    segments = propagate()
    assert all(list(masks) == [2, 3] for masks in segments.values())


def test_a_box_in_the_demo_clip_is_tracked_with_the_packaged_prompter():
    demo = make_clip(num_frames=12, size=(120, 214))
    predictor = SAM2VideoPredictor.from_pretrained(device="cpu")
    state = predictor.init_state(demo.frames)
    truth = demo.labels == 1
    y, x = np.nonzero(truth[0])
    box = (x.min(), y.min(), x.max() + 1, y.max() + 1)
    predictor.add_new_points_or_box(state, 0, 1, box=box)
    for frame, _, logits in predictor.propagate_in_video(state):
        mask = (logits[0, 0] > 0).numpy()
        overlap = (mask & truth[frame]).sum() / (mask | truth[frame]).sum()
        assert overlap > 0.5, frame


# --- Propagation ---------------------------------------------------------------------------------


def test_propagation_gives_the_labels_of_track(predictor, state, clip):
    frames, labels = clip
    later = np.where(labels == 3, 3, 0)
    later[5:20, 40:60] = 8  # a correction of 3 and a new object
    give(predictor, state, {0: np.where(labels == 3, 3, 0), 2: np.where(labels == 7, 7, 0)})
    give(predictor, state, {4: np.where(later == 3, 3, 0)})
    wanted = tracked(frames, {0: {3: labels == 3}, 2: {7: labels == 7}, 4: {3: later == 3}})
    given = label_maps(predictor.propagate_in_video(state))
    for index in range(2):  # 7 is tracked back from frame 2: see the test for that
        given[index][given[index] == 7] = 0
        given[index][wanted[index] == 3] = 3
    assert_equal_maps(given, wanted)


def test_reverse_propagation_gives_the_labels_of_track_on_reversed_frames(predictor, state, clip):
    frames, labels = clip
    give(predictor, state, {6: labels})
    backwards = tracked(frames[::-1], {1: labels})
    wanted = {7 - index: backwards[index] for index in range(1, 8)}
    assert_equal_maps(label_maps(predictor.propagate_in_video(state, reverse=True)), wanted)


def test_the_mask_of_a_prompted_frame_comes_back_as_it_was_given(predictor, state, clip):
    labels = clip[1]
    give(predictor, state, {0: labels, 3: np.roll(labels, 5, axis=1)})
    given = label_maps(predictor.propagate_in_video(state))
    np.testing.assert_array_equal(given[0], labels)
    np.testing.assert_array_equal(given[3], np.roll(labels, 5, axis=1))


def test_a_start_in_the_middle_gives_that_part_of_the_whole(predictor, state, clip):
    give(predictor, state, {0: clip[1]})
    whole = label_maps(predictor.propagate_in_video(state))
    part = label_maps(predictor.propagate_in_video(state, start_frame_idx=4))
    assert_equal_maps(part, {index: whole[index] for index in range(4, 8)})


@pytest.mark.parametrize("reverse", [False, True])
def test_propagation_in_pieces_gives_the_whole_and_tracks_each_frame_once(
    predictor, state, clip, reverse, monkeypatch
):
    give(predictor, state, {7 if reverse else 0: clip[1]})
    whole = label_maps(predictor.propagate_in_video(state, reverse=reverse))
    state.paused = None
    steps = []
    step = TrackingSession.step
    monkeypatch.setattr(
        TrackingSession, "step", lambda self, *args: steps.append(1) or step(self, *args)
    )
    pieces = {}
    for first in (0, 4, 6):
        pieces |= label_maps(
            predictor.propagate_in_video(
                state, 7 - first if reverse else first, max_frame_num_to_track=1, reverse=reverse
            )
        )
    assert list(pieces) == [7 - i if reverse else i for i in (0, 1, 4, 5, 6, 7)]
    assert_equal_maps(pieces, {index: whole[index] for index in pieces})
    assert len(steps) == 8


def test_an_interrupted_propagation_goes_on_after_a_correction(predictor, state, clip):
    frames, labels = clip
    give(predictor, state, {0: labels})
    list(itertools.islice(predictor.propagate_in_video(state), 4))
    moved = np.roll(labels, 9, axis=1)
    give(predictor, state, {4: moved})
    given = label_maps(predictor.propagate_in_video(state, start_frame_idx=4))
    wanted = tracked(frames, {0: labels, 4: moved})
    assert_equal_maps(given, {index: wanted[index] for index in range(4, 8)})


def test_a_correction_of_the_past_is_tracked_anew(predictor, state, clip):
    frames, labels = clip
    give(predictor, state, {0: labels})
    list(predictor.propagate_in_video(state))
    moved = np.roll(labels, 9, axis=1)
    give(predictor, state, {3: moved})
    given = label_maps(predictor.propagate_in_video(state))
    assert_equal_maps(given, tracked(frames, {0: labels, 3: moved}))


def test_a_correction_of_the_past_costs_what_it_tracks_again(predictor, state, clip, monkeypatch):
    give(predictor, state, {0: clip[1]})
    list(predictor.propagate_in_video(state))
    give(predictor, state, {5: np.roll(clip[1], 9, axis=1)})
    steps = []
    step = TrackingSession.step
    monkeypatch.setattr(
        TrackingSession, "step", lambda self, *args: steps.append(1) or step(self, *args)
    )
    assert len(list(predictor.propagate_in_video(state, start_frame_idx=5))) == 3
    assert len(steps) == 3


def test_an_object_is_tracked_back_from_its_first_prompt(predictor, state, clip):
    frames, labels = clip
    give(predictor, state, {5: np.where(labels == 7, 7, 0)})
    backwards = tracked(frames[::-1], {2: {7: labels == 7}})
    given = label_maps(predictor.propagate_in_video(state, start_frame_idx=1))
    assert list(given) == list(range(1, 8))
    for index in range(1, 5):
        np.testing.assert_array_equal(given[index], backwards[7 - index])
    assert_equal_maps(
        {index: given[index] for index in range(5, 8)},
        {index: x for index, x in tracked(frames, {5: {7: labels == 7}}).items() if index >= 5},
    )


def test_objects_of_both_directions_are_in_every_frame(predictor, state, clip):
    labels = clip[1]
    predictor.add_new_mask(state, 1, 3, labels == 3)
    predictor.add_new_mask(state, 6, 7, labels == 7)
    for reverse, count in ((False, 7), (True, 2)):
        results = list(predictor.propagate_in_video(state, reverse=reverse))
        assert len(results) == count
        for _, ids, logits in results:
            assert ids == [3, 7]
            assert (logits > -1000).all()  # neither is unknown
        label_maps(results)


def test_what_was_tracked_back_is_used_again_only_for_the_same_prompts(predictor, state, clip):
    frames, labels = clip
    give(predictor, state, {6: labels})
    started = predictor.propagate_in_video(state, 2)  # not consumed before the prompts change
    moved = np.roll(labels, 9, axis=1)
    give(predictor, state, {6: moved})
    old, new = label_maps(started), label_maps(predictor.propagate_in_video(state, 2))
    for given, masks in ((old, labels), (new, moved)):
        backwards = tracked(frames[::-1], {1: masks})
        for index in range(2, 7):
            np.testing.assert_array_equal(given[index], backwards[7 - index])


def test_pieces_before_the_first_prompt_are_tracked_back_once(predictor, state, clip, monkeypatch):
    give(predictor, state, {7: clip[1]})
    steps = []
    step = TrackingSession.step
    monkeypatch.setattr(
        TrackingSession, "step", lambda self, *args: steps.append(1) or step(self, *args)
    )
    for first in (0, 2, 4):
        frames = [f for f, _, _ in predictor.propagate_in_video(state, first, 1)]
        assert frames == [first, first + 1]
    assert len(steps) == 8


def test_numbers_of_frames_are_those_of_sam2(predictor, state, clip):
    give(predictor, state, {3: clip[1]})

    def frames(*args, **options):
        return [frame for frame, _, _ in predictor.propagate_in_video(state, *args, **options)]

    assert frames() == [3, 4, 5, 6, 7]
    assert frames(reverse=True) == [3, 2, 1, 0]
    assert frames(5) == [5, 6, 7]
    assert frames(3, 2) == [3, 4, 5]
    assert frames(3, 0) == [3]
    assert frames(start_frame_idx=6, max_frame_num_to_track=99) == [6, 7]
    assert frames(start_frame_idx=5, max_frame_num_to_track=2, reverse=True) == [5, 4, 3]
    assert frames(0, reverse=True) == []


def test_a_callers_contexts_change_nothing(predictor, state, clip):
    give(predictor, state, {0: clip[1]})
    plain = [logits for _, _, logits in predictor.propagate_in_video(state)]
    state.paused = None
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        inside = [logits for _, _, logits in predictor.propagate_in_video(state)]
    for one, other in zip(plain, inside, strict=True):
        assert torch.equal(one, other)
    assert not torch.is_inference_mode_enabled()


# --- Logits --------------------------------------------------------------------------------------


def test_a_logit_compares_an_object_with_its_strongest_rival(clip):
    frames, labels = clip
    result = tiny.segmenter().track(frames[:2], labels, keep_probabilities=True)[1]
    logits = competing_logits(result, torch.device("cpu")).double().numpy()
    p = result.probabilities.double().numpy()
    for y, x in itertools.product(range(0, H, 7), range(0, W, 5)):
        for n, i in enumerate(result.object_ids):
            rival = max(p[c, y, x] for c in range(3) if c != n + 1)
            wanted = np.clip(np.log(p[n + 1, y, x]) - np.log(rival), -16, 16)
            assert logits[n, y, x] == pytest.approx(wanted, abs=1e-4)
            assert (logits[n, y, x] > 0) == (result.labels[y, x] == i)


def test_packing_keeps_the_sign_and_the_whole_number():
    logits = torch.tensor([[-16.0, -0.3, 0.0, 1e-6, 0.2, 4.0, 16.0]])
    again = unpack(pack(logits), (1, 7), torch.device("cpu"))
    assert again.tolist() == [[-16.0, -1.0, 0.0, 1.0, 1.0, 4.0, 16.0]]


# --- Prompts -------------------------------------------------------------------------------------


def test_clicks_are_added_or_replaced_as_in_sam2(predictor, state, prompter):
    def points(*args, **options):
        predictor.add_new_points_or_box(state, 0, 1, *args, **options)
        return prompter.calls[-1][2].get(1)

    assert points([[10, 12]], [1]) == ((10.0, 12.0, True),)
    assert points([[30, 12]], [0], clear_old_points=False) == (
        (10.0, 12.0, True),
        (30.0, 12.0, False),
    )
    assert points([[50, 40]], [1]) == ((50.0, 40.0, True),)
    assert points([[0.5, 0.25]], [1], normalize_coords=False) == ((48.0, 16.0, True),)
    assert points(torch.tensor([[[8, 9]]]), torch.tensor([[1]])) == ((8.0, 9.0, True),)
    assert points(box=[10, 12, 40, 30]) is None
    assert prompter.calls[-1][1] == {1: (10.0, 12.0, 40.0, 30.0)}
    assert points([[20, 20]], [1], clear_old_points=False) == ((20.0, 20.0, True),)
    assert prompter.calls[-1][1] == {1: (10.0, 12.0, 40.0, 30.0)}
    predictor.add_new_points(state, 0, 1, [[20, 21]], [1])
    assert prompter.calls[-1][2] == {1: ((20.0, 21.0, True),)}


def test_clicks_correct_the_present_mask_and_a_box_starts_anew(predictor, state, clip, prompter):
    frames, labels = clip

    def present():
        return prompter.calls[-1][3]

    predictor.add_new_points_or_box(state, 0, 3, [[20, 20]], [1])
    assert present() == {}
    predictor.add_new_points_or_box(state, 0, 3, [[30, 20]], [1])
    assert present()[3].sum() == 13 * 13
    predictor.add_new_points_or_box(state, 0, 3, box=(10, 10, 30, 30))
    assert present() == {}
    predictor.add_new_mask(state, 0, 3, labels == 3)
    wanted = label_maps(predictor.propagate_in_video(state))[5] == 3
    predictor.add_new_points_or_box(state, 5, 3, [[30, 20]], [1])
    np.testing.assert_array_equal(present()[3], wanted)
    np.testing.assert_array_equal(prompter.calls[-1][0], frames[5])


def test_the_latest_prompt_is_on_top(predictor, state):
    predictor.add_new_points_or_box(state, 0, 1, box=(10, 10, 40, 40))
    _, _, logits = predictor.add_new_points_or_box(state, 0, 2, box=(30, 10, 60, 40))
    assert (logits > 0).sum(dim=(1, 2, 3)).tolist() == [20 * 30, 30 * 30]
    assert_equal_maps(
        {0: label_maps(itertools.islice(predictor.propagate_in_video(state), 1))[0]},
        {0: sum(i * (logits[n, 0] > 0).numpy() for n, i in enumerate((1, 2)))},
    )


def test_objects_unknown_in_a_frame_have_the_logit_of_sam2(predictor, state, clip):
    predictor.add_new_mask(state, 0, 3, clip[1] == 3)
    _, ids, logits = predictor.add_new_mask(state, 4, 7, clip[1] == 7)
    assert ids == [3, 7]
    assert (logits[0] == -1024).all()


@pytest.mark.parametrize("obj_id", [0, "dog", -5, 2**40, np.int64(9), 255])
def test_any_object_id_comes_back_as_it_was_given(predictor, state, clip, obj_id):
    predictor.add_new_mask(state, 0, 1, clip[1] == 3)
    _, ids, _ = predictor.add_new_mask(state, 0, obj_id, clip[1] == 7)
    assert ids == [1, obj_id]
    for _, ids, logits in predictor.propagate_in_video(state):
        assert ids == [1, obj_id]
        assert logits.shape[0] == 2


@pytest.mark.parametrize("obj_id", [torch.tensor(1), [1]])
def test_ids_that_are_not_values_are_refused(predictor, state, clip, obj_id):
    with pytest.raises(ConfigError, match=r"Write int\(obj_id\)"):
        predictor.add_new_mask(state, 0, obj_id, clip[1] == 3)


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int64, np.float32])
def test_masks_of_any_dtype_are_taken(predictor, state, clip, dtype):
    mask = clip[1] == 3
    for given in (mask.astype(dtype), torch.from_numpy(mask.astype(dtype))):
        _, _, logits = predictor.add_new_mask(state, 0, 3, given)
        np.testing.assert_array_equal((logits[0, 0] > 0).numpy(), mask)


def test_an_empty_mask_says_that_the_object_is_not_in_the_frame(predictor, state, clip):
    labels = clip[1]
    predictor.add_new_mask(state, 0, 3, labels == 3)
    predictor.add_new_mask(state, 4, 3, labels == 99)
    given = label_maps(predictor.propagate_in_video(state))
    assert given[0].any()
    assert not given[4].any()


def test_a_prompter_that_finds_nothing_changes_nothing(clip):
    predictor = SAM2VideoPredictor(
        tiny.segmenter(),
        prompter=lambda frame, boxes, points, masks: {1: np.zeros(frame.shape[:2], np.bool_)},
    )
    state = predictor.init_state(clip[0])
    with pytest.raises(MaskError, match="found nothing for object 1"):
        predictor.add_new_points_or_box(state, 0, 1, box=(1, 1, 20, 20))
    assert state.obj_ids == []
    with pytest.raises(SessionError, match="there is no object"):
        predictor.propagate_in_video(state)


# --- Changing one's mind -------------------------------------------------------------------------


def test_a_reset_state_is_as_good_as_new(predictor, state, clip):
    frames, labels = clip
    give(predictor, state, {2: np.roll(labels, 7, axis=0)})
    list(predictor.propagate_in_video(state))
    predictor.reset_state(state)
    assert state.obj_ids == []
    give(predictor, state, {0: labels})
    assert_equal_maps(label_maps(predictor.propagate_in_video(state)), tracked(frames, {0: labels}))


def test_a_removed_object_leaves_no_trace(predictor, state, clip):
    frames, labels = clip
    give(predictor, state, {0: labels})
    list(predictor.propagate_in_video(state))
    ids, changed = predictor.remove_object(state, 3)
    assert ids == [7]
    assert [(frame, logits.shape) for frame, logits in changed] == [(0, (1, 1, H, W))]
    wanted = tracked(frames, {0: {7: labels == 7}})
    assert_equal_maps(label_maps(predictor.propagate_in_video(state)), wanted)
    assert predictor.remove_object(state, 3) == ([7], [])
    with pytest.raises(SessionError, match=r"no object 3; accepted: \[7\]"):
        predictor.remove_object(state, 3, strict=True)
    assert predictor.remove_object(state, 7) == ([], [])


def test_cleared_prompts_no_longer_count(predictor, state, clip):
    frames, labels = clip
    give(predictor, state, {0: labels, 4: np.roll(labels, 9, axis=1)})
    for i in (3, 7):
        frame, ids, logits = predictor.clear_all_prompts_in_frame(state, 4, i)
    assert (frame, ids) == (4, [3, 7])
    assert (logits == -1024).all()
    assert_equal_maps(label_maps(predictor.propagate_in_video(state)), tracked(frames, {0: labels}))
    assert predictor.clear_all_prompts_in_frame(state, 0, 3, need_output=False) is None
    with pytest.raises(SessionError, match=r"\[3\] have no pixels in any prompt"):
        predictor.propagate_in_video(state)
    with pytest.raises(SessionError, match="no object 5"):
        predictor.clear_all_prompts_in_frame(state, 0, 5)


# --- What is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"points": [[1, 2]]}, "points came without labels"),
        ({"labels": [1]}, "labels came without points"),
        ({}, "no prompt"),
        ({"box": (1, 2, 30, 40), "clear_old_points": False}, "clear_old_points=False"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(predictor, state, options, message):
    with pytest.raises(ConfigError, match=message):
        predictor.add_new_points_or_box(state, 0, 1, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"points": [1, 2], "labels": [1]}, "points has the shape"),
        ({"points": [[1, 2]], "labels": [1, 0]}, "points has the shape"),
        ({"points": [[1, 2], [30, 40]], "labels": [2, 3]}, "Write box="),
        ({"points": [[500, 2]], "labels": [1]}, "outside of the frame"),
        ({"points": "here", "labels": [1]}, "points is 'here'"),
        ({"box": (1, 2, 30)}, "box has 3 numbers"),
        ({"box": (30, 40, 1, 2)}, "empty or reversed"),
        ({"box": (1, 2, np.nan, 40)}, "all finite"),
        ({"box": (300, 2, 400, 40)}, "does not lie in the frame"),
    ],
)
def test_bad_prompts_are_refused_and_nothing_is_lost(predictor, state, options, message):
    predictor.add_new_points_or_box(state, 0, 1, box=(1, 2, 30, 40))
    before = predictor.clear_all_prompts_in_frame(state, 3, 1)
    with pytest.raises(MaskError, match=message):
        predictor.add_new_points_or_box(state, 0, 1, **options)
    with pytest.raises(MaskError, match=message):
        predictor.add_new_points_or_box(state, 0, 2, **options)
    assert state.obj_ids == before[1] == [1]
    assert state.present_mask(0, 1).sum() == 29 * 38


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.zeros((1, H, W), np.uint8), r"Write mask\[0\]"),
        (np.ones((W, H), np.bool_), "px high"),
        (np.linspace(-9, 9, H * W).reshape(H, W), "Write mask > 0"),
        (np.arange(H * W).reshape(H, W) % 3, "labels == 1"),
        ("mask.png", "mask is 'mask.png'"),
    ],
)
def test_bad_masks_are_refused(predictor, state, mask, message):
    with pytest.raises(MaskError, match=message):
        predictor.add_new_mask(state, 0, 1, mask)
    assert state.obj_ids == []


def test_frames_outside_of_the_video_are_refused(predictor, state, clip):
    for frame in (-1, 8, 2.5, "0"):
        with pytest.raises(ConfigError, match="frame_idx is"):
            predictor.add_new_mask(state, frame, 1, clip[1] == 3)
    predictor.add_new_mask(state, 0, 1, clip[1] == 3)
    with pytest.raises(ConfigError, match="start_frame_idx is 8"):
        predictor.propagate_in_video(state, 8)
    with pytest.raises(ConfigError, match="max_frame_num_to_track is -1"):
        predictor.propagate_in_video(state, max_frame_num_to_track=-1)


@pytest.mark.parametrize(
    "options",
    [
        {"vos_optimized": True},
        {"fill_hole_area": 8},
        {"non_overlap_masks": False},
        {"clear_non_cond_mem_around_input": True},
        {"add_all_frames_to_correct_as_cond": False},
        {"hydra_overrides_extra": ["++model.x=1"]},
        {"mode": "train"},
        {"image_size": 512},
    ],
    ids=lambda options: next(iter(options)),
)
def test_options_of_sam2_are_refused_by_name(options):
    for build in (
        lambda: SAM2VideoPredictor(tiny.segmenter(), **options),
        lambda: SAM2VideoPredictor.from_pretrained(**options),
        lambda: build_sam2_video_predictor(**options),
    ):
        with pytest.raises(ConfigError, match=next(iter(options))):
            build()


def test_configurations_and_weights_of_sam2_are_refused():
    with pytest.raises(ConfigError, match='ckpt_path="rmnet-small"'):
        build_sam2_video_predictor("configs/sam2.1/sam2.1_hiera_l.yaml", "sam2.1_hiera_large.pt")
    for name in ("facebook/sam2.1-hiera-large", "checkpoints/sam2.1_hiera_large.pt"):
        with pytest.raises(ConfigError, match="names weights of SAM 2"):
            SAM2VideoPredictor.from_pretrained(name)


def test_the_line_that_an_error_names_loads_a_predictor():
    predictor = build_sam2_video_predictor(
        ckpt_path="rmnet-small", device="cpu", vos_optimized=False, apply_postprocessing=True
    )
    assert predictor.device == torch.device("cpu")


# --- The state -----------------------------------------------------------------------------------


def test_the_state_answers_the_keys_of_sam2(predictor, clip):
    state = predictor.init_state(clip[0], offload_video_to_cpu=True)
    predictor.add_new_mask(state, 0, "dog", clip[1] == 3)
    assert (state["num_frames"], state["video_height"], state["video_width"]) == (8, H, W)
    assert state["obj_ids"] == ["dog"]
    assert state["obj_id_to_idx"] == {"dog": 0}
    assert state["obj_idx_to_id"] == {0: "dog"}
    assert state["device"] == torch.device("cpu")
    assert state["offload_video_to_cpu"] is True
    with pytest.raises(ConfigError, match="no 'output_dict'"):
        state["output_dict"]


def test_frames_that_come_only_once_are_refused(predictor, clip):
    with pytest.raises(ConfigError, match=r"Write list\(frames\)"):
        predictor.init_state(iter(clip[0]))


def test_a_video_file_gives_any_frame_in_any_order(tmp_path):
    pytest.importorskip("av")
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, frames_per_second=24) as writer:
        for frame in tiny.clip(40)[0]:
            writer.write(frame, None)
    wanted = list(open_frames(path))
    frames = VideoFrames(open_frames(path))
    assert (frames.num_frames, frames.size) == (40, (H, W))
    for index in (0, 5, 4, 39, 3, 3, *range(39, -1, -1), *range(40)):
        np.testing.assert_array_equal(frames.read(index), wanted[index])


def test_a_frame_that_cannot_be_decoded_is_named_and_the_others_stay(tmp_path, clip, predictor):
    for number, frame in enumerate(clip[0]):
        Image.fromarray(frame).save(tmp_path / f"{number}.png")
    (tmp_path / "5.png").write_bytes(b"damaged")
    state = predictor.init_state(tmp_path)
    give(predictor, state, {0: clip[1]})
    results = predictor.propagate_in_video(state)
    done = list(itertools.islice(results, 5))
    assert [frame for frame, _, _ in done] == [0, 1, 2, 3, 4]
    with pytest.raises(VideoError, match=r"5\.png"):
        next(results)
