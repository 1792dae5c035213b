"""Sessions: giving masks, correcting, adding and removing objects, and what each costs."""

import threading

import numpy as np
import pytest
import torch

import tiny
from rmnet import MemoryPolicy
from rmnet.errors import ConfigError, FrameError, MaskError, SessionError, UnknownObjectError


@pytest.fixture
def segmenter():
    return tiny.segmenter()


@pytest.fixture
def clip():
    return tiny.clip()


def run(segmenter, frames, labels, **options):
    return list(segmenter.stream(frames, labels, keep_probabilities=True, **options))


def same(a, b):
    return all(
        np.array_equal(x.labels, y.labels) and torch.equal(x.probabilities, y.probabilities)
        for x, y in zip(a, b, strict=True)
    )


def count_network_passes(segmenter):
    calls = []
    network = segmenter._inference
    parts = {"query_encoder": network.query_encoder.stage16}
    parts |= {part: getattr(network, part) for part in ("memory_encoder", "flow", "decoder")}
    for name, module in parts.items():
        module.register_forward_hook(lambda *_, name=name: calls.append(name))
    return calls


def test_first_frame_returns_the_given_mask(segmenter, clip):
    frames, labels = clip
    result = segmenter.start().step(frames[0], labels)
    assert np.array_equal(result.labels, labels)
    assert result.object_ids == (3, 7)
    assert result.scores.tolist() == [1, 1]
    assert result.status == ("tracked", "tracked")
    assert result.boxes.tolist() == [[12, 8, 32, 32], [48, 21, 88, 60]]
    assert result.regions.tolist() == [[0, 0, 0, 0]] * 2


def test_results_have_the_videos_size_and_the_users_ids(segmenter):
    frames, labels = tiny.clip(size=(90, 131))
    for result in segmenter.stream(frames, labels, size=48, keep_probabilities=True):
        assert result.labels.shape == (90, 131)
        assert result.labels.dtype == np.int32
        assert set(np.unique(result.labels)) <= {0, 3, 7}
        assert result.probabilities.shape == (3, 90, 131)
        assert torch.allclose(result.probabilities.sum(dim=0), torch.ones(1), atol=1e-5)
        assert (result.boxes[:, 2:] <= (131, 90)).all()
        assert (result.regions[:, 2:] <= (131, 90)).all()


def test_boxes_scores_and_status_match_labels_and_probabilities(segmenter, clip):
    frames, labels = clip
    for result in run(segmenter, frames, labels)[1:]:
        for row, i in enumerate(result.object_ids):
            mask = result.binary(i)
            ys, xs = mask.nonzero()
            p = result.probabilities[row + 1].numpy()
            if len(ys):
                box = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
                assert result.scores[row] == pytest.approx(p[mask].mean(), abs=1e-5)
            else:
                box = [0, 0, 0, 0]
                assert result.scores[row] == 0
            assert result.boxes[row].tolist() == box
            assert result.status[row] == ("tracked" if (p >= 0.5).sum() >= 10 else "lost")


def test_more_than_ten_objects_with_any_ids(segmenter, clip):
    frames, _ = clip
    labels = np.zeros(frames.shape[1:3], dtype=np.int64)
    ids = [1, 2, 17, 40, 99, 128, 254, 256, 1000, 65535, 65536, 2_000_000, 5]
    for row, i in enumerate(ids):
        labels[(row // 5) * 20 : (row // 5) * 20 + 12, (row % 5) * 18 : (row % 5) * 18 + 10] = i
    results = run(segmenter, frames[:3], labels)
    assert results[0].object_ids == tuple(sorted(ids))
    assert np.array_equal(results[0].labels, labels)
    assert set(np.unique(results[2].labels)) <= {0, *ids}


def test_tracking_a_video_again_gives_the_same_bytes(segmenter, clip):
    assert same(run(segmenter, *clip), run(segmenter, *clip))


def test_interleaved_sessions_do_not_disturb_each_other(segmenter, clip):
    frames, labels = clip
    others = frames[::-1]
    alone = run(segmenter, frames, labels), run(segmenter, others, labels == 3)
    a, b = (segmenter.start(keep_probabilities=True) for _ in range(2))
    together = [], []
    for t in range(len(frames)):
        together[0].append(a.step(frames[t], labels if t == 0 else None))
        together[1].append(b.step(others[t], labels == 3 if t == 0 else None))
    assert same(alone[0], together[0])
    assert same(alone[1], together[1])


def test_sessions_in_threads_do_not_disturb_each_other(segmenter, clip):
    frames, labels = clip
    alone = run(segmenter, frames, labels)
    found = {}

    def work(name):
        found[name] = run(segmenter, frames, labels)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert all(same(alone, results) for results in found.values())


def test_grad_mode_of_the_caller_is_left_alone(segmenter, clip):
    frames, labels = clip
    for result in segmenter.stream(frames, labels, keep_probabilities=True):
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
        assert not result.probabilities.requires_grad


def test_corrections_on_the_frame_just_returned_cost_no_network_pass(segmenter, clip):
    frames, labels = clip
    session = segmenter.start()
    session.step(frames[0], labels)
    session.step(frames[1])
    calls = count_network_passes(segmenter)
    mask = np.zeros_like(labels)
    mask[20:40, 40:60] = 3
    session.correct(mask)
    session.add_objects({11: mask == 3})
    session.remove_objects(7)
    assert calls == []
    session.step(frames[2])
    once, each = ["flow", "query_encoder"], ["decoder", "memory_encoder"]
    assert sorted(calls) == sorted(once + 2 * each)


def test_a_corrected_frame_is_the_same_as_one_given_its_mask(segmenter, clip):
    frames, labels = clip
    mask = np.roll(labels, 5, axis=1)
    given = run(segmenter, frames, labels, masks={2: mask})
    session = segmenter.start(keep_probabilities=True)
    corrected = []
    for t, frame in enumerate(frames):
        result = session.step(frame, labels if t == 0 else None)
        corrected.append(session.correct(mask) if t == 2 else result)
    assert same(given, corrected)


def test_correct_returns_and_keeps_exactly_the_mask(segmenter, clip):
    frames, labels = clip
    session = segmenter.start()
    session.step(frames[0], labels)
    session.step(frames[1])
    mask = np.roll(labels, 9, axis=0)
    result = session.correct(mask)
    assert np.array_equal(result.labels, mask)
    assert result.index == 1
    session.step(frames[2])
    assert 1 in session.memory_stats().pinned_frames


def test_an_object_added_later_starts_there(segmenter, clip):
    frames, labels = clip
    added = {40: np.zeros(labels.shape, dtype=bool)}
    added[40][2:14, 70:90] = True
    results = run(segmenter, frames, labels == 3, masks={3: added})
    assert [r.object_ids for r in results] == [(1,)] * 3 + [(1, 40)] * 3
    assert np.array_equal(results[3].binary(40), added[40])
    assert results[3].regions[1].tolist() == [0, 0, 0, 0]
    assert results[4].regions[1].any()
    # Before that frame it does not exist: the first frames equal a run without it.
    assert same(results[:3], run(segmenter, frames, labels == 3)[:3])


def test_an_added_object_reads_only_frames_in_which_it_existed(segmenter, clip):
    frames, labels = clip
    mask = np.zeros(labels.shape, dtype=bool)
    mask[2:14, 70:90] = True
    session = segmenter.start(memory=MemoryPolicy(every=1))
    for t in range(4):
        session.step(frames[t], labels if t == 0 else None)
    session.add_objects({40: mask})
    session.step(frames[4])
    present = session._state.bank.view().present
    assert present[:2].all()
    assert present[2].sum() == 1


def test_removed_objects_are_gone_and_the_others_continue(segmenter, clip):
    frames, labels = clip
    session = segmenter.start()
    session.step(frames[0], labels)
    session.step(frames[1])
    result = session.remove_objects([3])
    assert result.object_ids == (7,)
    assert not (result.labels == 3).any()
    assert session.objects == (7,)
    assert session.step(frames[2]).object_ids == (7,)
    session.remove_objects(7)
    assert session.objects == ()
    empty = session.step(frames[3])
    assert empty.object_ids == ()
    assert not empty.labels.any()
    again = session.step(frames[4], labels)
    assert again.object_ids == (3, 7)
    assert session.step(frames[5]).index == 5


def test_a_segmenter_is_not_changed_by_use(segmenter, clip):
    before = {k: v.clone() for k, v in segmenter._network.state_dict().items()}
    run(segmenter, *clip)
    after = segmenter._network.state_dict()
    assert all(torch.equal(v, after[k]) for k, v in before.items())


def test_input_is_not_written_to(segmenter, clip):
    frames, labels = clip
    before = frames.copy(), labels.copy()
    frames.flags.writeable = labels.flags.writeable = False
    results = run(segmenter, frames, labels)
    results[0].overlay(frames[0])
    assert np.array_equal(frames, before[0])
    assert np.array_equal(labels, before[1])


def test_memory_policy_decides_what_is_remembered(segmenter, clip):
    frames, labels = clip
    session = segmenter.start(memory=MemoryPolicy(every=2, max_frames=3))
    for t, frame in enumerate(frames):
        session.step(frame, labels if t == 0 else None)
    stats = session.memory_stats()
    assert stats.frames == (0, 2, 4)
    assert stats.pinned_frames == (0,)
    assert stats.num_bytes > 0


def test_flow_none_looks_around_the_previous_mask(segmenter, clip):
    frames, labels = clip
    calls = count_network_passes(segmenter)
    still = run(segmenter, frames[:2], labels, flow="none")
    assert "flow" not in calls
    margin = segmenter.config.box_margin
    assert still[1].region(3) == (0, 0, 32 + margin, 32 + margin)


def test_a_flow_function_moves_the_search(segmenter, clip):
    frames, labels = clip
    seen = []

    def flow(current, previous):
        seen.append((current, previous))
        field = np.zeros((2, *current.shape[:2]), dtype=np.float32)
        field[0] = -20  # everything moved 20 px to the right
        return field

    results = run(segmenter, frames[:3], labels, flow=flow)
    x0, _, x1, _ = results[1].region(3)
    assert (x0, x1) == (12 + 20 - 16, 32 + 20 + 16)
    assert np.array_equal(seen[0][0], frames[1])
    assert np.array_equal(seen[0][1], frames[0])


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (np.zeros((64, 96, 2), np.float32), r"\(64, 96, 2\); accepted: floats \(2, H, W\)"),
        (np.zeros((2, 64, 96), np.int64), "int64"),
        (np.full((2, 64, 96), np.nan), "NaN"),
    ],
)
def test_an_invalid_flow_is_refused_and_loses_nothing(segmenter, clip, field, message):
    frames, labels = clip
    good = run(segmenter, frames[:2], labels, flow=lambda *_: np.zeros((2, 64, 96), np.float32))
    answers = iter([field, np.zeros((2, 64, 96), np.float32)])
    session = segmenter.start(flow=lambda *_: next(answers), keep_probabilities=True)
    first = session.step(frames[0], labels)
    with pytest.raises(ConfigError, match=message):
        session.step(frames[1])
    assert session.frame_index == 0
    assert same(good, [first, session.step(frames[1])])


def test_step_before_any_mask_says_how_to_call_it(segmenter, clip):
    with pytest.raises(SessionError, match=r"nothing to track yet.*step\(frame, mask\)"):
        segmenter.start().step(clip[0][0])


@pytest.mark.parametrize("call", ["correct", "add_objects", "remove_objects"])
def test_changing_a_frame_before_there_is_one_is_refused(segmenter, clip, call):
    with pytest.raises(SessionError, match=rf"{call}.*step\(frame, mask\) first"):
        getattr(segmenter.start(), call)(clip[1] if call != "remove_objects" else 3)


def test_a_frame_of_another_size_is_refused_and_loses_nothing(segmenter, clip):
    frames, labels = clip
    alone = run(segmenter, frames, labels)
    session = segmenter.start(keep_probabilities=True)
    results = [session.step(frames[0], labels)]
    with pytest.raises(FrameError, match=r"frame 1 is \(32, 96\).*after frames of \(64, 96\)"):
        session.step(frames[1][:32])
    with pytest.raises(MaskError):
        session.step(frames[1], labels[:32])
    results += [session.step(frame) for frame in frames[1:]]
    assert same(alone, results)


def test_unknown_ids_are_named_and_none_is_removed(segmenter, clip):
    frames, labels = clip
    session = segmenter.start()
    session.step(frames[0], labels)
    with pytest.raises(UnknownObjectError, match=r"objects \[9\] .*accepted: \[3, 7\]"):
        session.remove_objects([3, 9])
    assert session.objects == (3, 7)
    with pytest.raises(KeyError):
        session.step(frames[1]).binary(9)


def test_adding_a_tracked_object_is_refused(segmenter, clip):
    frames, labels = clip
    session = segmenter.start()
    session.step(frames[0], labels)
    with pytest.raises(SessionError, match=r"\[3, 7\] are already tracked.*correct\(mask\)"):
        session.add_objects(labels)


def test_a_removed_object_leaves_no_trace_in_the_others(segmenter, clip):
    frames, labels = clip
    session = segmenter.start(keep_probabilities=True)
    session.step(frames[0], labels)
    session.step(frames[1])
    predicted = session._state.last.estimate.predicted
    from rmnet.geometry.aggregation import soft_aggregate

    left = session.remove_objects(7).probabilities
    assert torch.equal(left, soft_aggregate(predicted[None, :1])[0].softmax(dim=0))


def test_removing_all_and_adding_again_is_a_fresh_start(segmenter, clip):
    frames, labels = clip
    session = segmenter.start(keep_probabilities=True)
    for t in range(3):
        session.step(frames[t], labels if t == 0 else None)
    session.remove_objects([3, 7])
    again = [session.add_objects(labels), session.step(frames[3]), session.step(frames[4])]
    assert same(again, run(segmenter, frames[2:5], labels))


def test_many_corrections_of_one_frame_cost_no_more_than_one(segmenter, clip):
    frames, labels = clip
    session = segmenter.start()
    session.step(frames[0], labels)
    for shift in range(20):
        session.correct(np.roll(labels, shift, axis=1))
    assert len(session._state.last.estimate.given.object_ids) == 2


def test_an_object_can_be_declared_absent_from_the_frame(segmenter, clip):
    frames, labels = clip
    session = segmenter.start()
    session.step(frames[0], labels)
    session.step(frames[1])
    result = session.correct({3: np.zeros(labels.shape, dtype=bool)})
    assert result.object_ids == (3, 7)
    assert not result.binary(3).any()
    assert result.status[0] == "lost"
    with pytest.raises(MaskError, match=r"objects \[9\] have no pixels and are not tracked"):
        session.correct({9: np.zeros(labels.shape, dtype=bool)})


def test_a_binary_mask_does_not_add_an_object_by_accident(segmenter, clip):
    frames, labels = clip
    session = segmenter.start()
    session.step(frames[0], {7: labels == 7})
    with pytest.raises(MaskError, match=r"mask is binary.*\{7: mask\}"):
        session.correct(labels == 7)
    with pytest.raises(MaskError, match="binary"):
        session.step(frames[1], (labels == 7).astype(np.uint8) * 255)
    assert session.correct(labels == 7, object_ids=[7]).object_ids == (7,)
    assert session.add_objects(labels == 3).object_ids == (7, 1)
    assert session.correct(labels == 3).object_ids == (7, 1)


def test_object_ids_without_a_mask_are_refused(segmenter, clip):
    frames, labels = clip
    session = segmenter.start()
    session.step(frames[0], labels)
    with pytest.raises(MaskError, match="object_ids came without a mask"):
        session.step(frames[1], object_ids=[3])


def test_a_step_that_failed_in_the_network_can_be_repeated(segmenter, clip):
    frames, labels = clip
    alone = run(segmenter, frames, labels)
    session = segmenter.start(keep_probabilities=True)
    results = [session.step(frames[0], labels)]

    def out_of_memory(*_):
        raise MemoryError

    handle = segmenter._inference.decoder.register_forward_pre_hook(out_of_memory)
    with pytest.raises(MemoryError):
        session.step(frames[1])
    handle.remove()
    results += [session.step(frame) for frame in frames[1:]]
    assert same(alone, results)


@pytest.mark.parametrize("answer", [None, [1, 2], "none"])
def test_a_flow_of_another_type_is_refused(segmenter, clip, answer):
    frames, labels = clip
    with pytest.raises(ConfigError, match="the flow function returned a"):
        run(segmenter, frames[:2], labels, flow=lambda *_: answer)


def test_a_flow_may_have_negative_strides(segmenter, clip):
    frames, labels = clip
    field = np.zeros((2, 64, 96), np.float32)
    assert len(run(segmenter, frames[:2], labels, flow=lambda *_: field[::-1])) == 2


def test_the_first_frame_may_have_any_number(segmenter, clip):
    frames, labels = clip
    session = segmenter.start(first_index=13)
    assert session.step(frames[0], labels).index == 13
    assert session.step(frames[1]).index == 14
    for wrong in (-1, True, 1.0):
        with pytest.raises(ConfigError, match="first_index"):
            segmenter.start(first_index=wrong)
