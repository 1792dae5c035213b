"""Going back to past frames: what comes back, what is tracked again, and what is refused."""

import copy
import errno
import gc
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

import tiny
from rmnet import MemoryPolicy, RMNetError
from rmnet.errors import ConfigError, DeviceMemoryError, SessionError, SessionFileError
from rmnet.runtime.executor import BatchedExecutor
from rmnet.tracking import history as history_module
from rmnet.tracking.session_file import HEADER
from rmnet.weights.hashes import tensors_sha256

SEGMENTER = tiny.segmenter()
FRAMES, LABELS = CLIP = tiny.clip(12)
SMALL_CLIP = tiny.clip(12, size=(32, 48))
OTHER = np.zeros_like(LABELS)
OTHER[2:14, 70:90] = 40
MOVED = np.roll(LABELS, 5, axis=1)


@pytest.fixture(params=["object by object", "as a batch"])
def executor(request, monkeypatch):
    if request.param == "as a batch":
        monkeypatch.setattr(
            "rmnet.segmenter.segmenter.make_executor",
            lambda network, **_: BatchedExecutor(network),
        )


def started(**options):
    return SEGMENTER.start(**({"keep_probabilities": True} | options))


def step(session, clip=CLIP):
    """Step the frame that is due, whichever that is."""
    t = 0 if session.frame_index is None else session.frame_index + 1
    frames, labels = clip
    return session.step(frames[t % len(frames)], labels if t == 0 else None, seconds=t / 25)


def stepped(count, *, clip=CLIP, **options):
    session = started(**options)
    return session, [step(session, clip) for _ in range(count)]


def reloaded(session, folder, **options):
    return SEGMENTER.load_session(session.save(folder / "session", **options))


def assert_same(a, b):
    for name in ("index", "object_ids", "status", "seconds", "skipped"):
        assert getattr(a, name) == getattr(b, name), name
    for name in ("labels", "scores", "boxes", "regions"):
        assert np.array_equal(getattr(a, name), getattr(b, name)), name
    assert torch.equal(a.probabilities, b.probabilities)


# --- What comes back ---------------------------------------------------------------------------


@pytest.mark.parametrize("size", [None, 40])
@pytest.mark.usefixtures("executor")
def test_a_frame_comes_back_and_the_frames_after_it_are_found_again(size):
    session, first = stepped(11, size=size)
    for k in (10, 7, 5, 4, 0):
        assert_same(session.rewind(k), first[k])
        assert session.frame_index == k
        assert session.objects == (3, 7)
        for expected in first[k + 1 :]:
            assert_same(step(session), expected)


@pytest.mark.usefixtures("executor")
def test_a_frame_corrected_later_is_as_if_corrected_at_once():
    later, results = stepped(10)
    assert_same(later.rewind(4), results[4])
    at_once, _ = stepped(5)
    assert_same(later.correct(MOVED), at_once.correct(MOVED))
    for _ in range(5, 10):
        assert_same(step(later), step(at_once))
    for k in range(4):  # those before it are as they were
        assert_same(later.rewind(3 - k), results[3 - k])


def test_200_frames_corrected_in_the_middle_and_interrupted(tmp_path):
    options = {"memory": MemoryPolicy(max_frames=None), "clip": SMALL_CLIP}
    moved = np.roll(SMALL_CLIP[1], 5, axis=1)
    session, first = stepped(200, **options)
    resumed = reloaded(session, tmp_path)
    at_once, _ = stepped(121, **options)
    expected = [at_once.correct(moved)] + [step(at_once, SMALL_CLIP) for _ in range(121, 200)]
    assert not np.array_equal(expected[-1].labels, first[-1].labels)
    calls = []
    for one in (session, resumed):
        one.rewind(120)
        handle = SEGMENTER._inference.decoder.register_forward_hook(lambda *_: calls.append(1))
        again = [one.correct(moved)] + [step(one, SMALL_CLIP) for _ in range(121, 200)]
        handle.remove()
        assert len(calls) == 79 * 2  # frames after the corrected one, objects
        calls.clear()
        for a, b in zip(again, expected, strict=True):
            assert_same(a, b)
        one = reloaded(one, tmp_path)  # noqa: PLW2901 goes on in another session
        for k in range(119, -1, -33):
            assert_same(one.rewind(k), first[k])


def test_a_correction_of_the_last_frame_is_what_comes_back():
    session, _ = stepped(4)
    corrected = session.correct(MOVED)
    added = session.add_objects(OTHER)
    assert not np.array_equal(corrected.labels, added.labels)
    step(session)
    assert_same(session.rewind(3), added)


def test_void_and_covered_masks_come_back():
    session, _ = stepped(3, size=40)
    mask = MOVED.copy()
    mask[10:30, 30:60] = 255
    session.correct(mask)
    given = session.correct({3: LABELS == 7})
    expected = step(session)
    assert_same(session.rewind(2), given)
    assert_same(step(session), expected)


def test_objects_are_those_of_the_frame():
    session, first = stepped(3)
    session.add_objects(OTHER)
    for _ in range(4):
        step(session)
    assert session.rewind(1).object_ids == session.objects == (3, 7)
    assert_same(step(session), first[2])
    assert session.add_objects(OTHER).object_ids == (3, 7, 40)
    assert step(session).index == 3


def test_objects_removed_since_are_as_if_they_had_never_existed():
    session, _ = stepped(3)
    session.add_objects(OTHER)
    for _ in range(3):
        step(session)
    session.remove_objects([3, 40])
    step(session)
    session.add_objects({3: MOVED == 7})  # another object by the name of one removed
    step(session)
    twin, _ = stepped(3)
    assert_same(session.rewind(2), twin.remove_objects(3))
    assert session.objects == (7,)
    for _ in range(3, 8):
        assert_same(step(session), step(twin))


def test_a_session_without_objects_goes_back_and_starts_anew():
    session, first = stepped(6)
    session.remove_objects([3, 7])
    step(session)
    assert session.rewind(0).object_ids == ()
    assert np.array_equal(session.add_objects(LABELS).labels, LABELS)
    for expected in first[1:]:
        result = step(session)
        assert result.index == expected.index
        assert torch.equal(result.probabilities, expected.probabilities)


def test_skipped_frames_count():
    session, _ = stepped(3)
    session.skip("broken")
    expected = [session.step(FRAMES[4]), session.step(FRAMES[5])]
    session.skip("broken")
    assert session.rewind(2).index == 2
    session.skip("broken")
    assert_same(session.step(FRAMES[4]), expected[0])
    assert_same(session.step(FRAMES[5]), expected[1])
    session.skip("broken")
    assert_same(session.rewind(5), expected[1])
    assert session.frame_index == 5


@pytest.mark.parametrize(("every", "bound"), [(1, 3), (2, 2), (2, 3), (3, 3), (4, 3)])
def test_frames_are_found_again_unless_the_memory_has_dropped_one_since(every, bound):
    """Compare the last bits: they depend on the order of frames in memory, too."""
    session, first = stepped(1, memory=MemoryPolicy(every, bound))
    held, count = [()], 0
    for t in range(1, 13):
        first.append(step(session))
        held.append(session.memory_stats().frames)
        stayed = [{f for f in frames if f % every == 0} for frames in held]
        for k in range(t):
            if stayed[k] <= {*held[t]}:
                assert_same(session.rewind(k), first[k])
                for expected in first[k + 1 :]:
                    assert_same(step(session), expected)
                assert session.memory_stats().frames == held[t]
                count += k > 6  # when frames have been dropped before
    assert count > 0 or every == 1


def test_after_a_dropped_frame_the_others_of_the_past_are_still_in_memory():
    session, first = stepped(24, memory=MemoryPolicy(every=2, max_frames=4))
    remembered = session.memory_stats().frames
    assert_same(session.rewind(20), first[20])
    assert session.memory_stats().frames == tuple(f for f in remembered if f < 20 and f % 2 == 0)
    assert [step(session).index for _ in range(3)] == [21, 22, 23]
    assert len(session.memory_stats().frames) == 4


# --- Any sequence of calls ---------------------------------------------------------------------

OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(
            ["step"] * 4 + ["give", "correct", "add", "remove", "skip", "save", "rewind", "rewind"]
        ),
        st.integers(0, 40),
    ),
    min_size=6,
    max_size=14,
)


def operate(session, operation, number):
    """Run one operation that an earlier run of the same frames would have run, too."""
    if operation == "step":
        return step(session)
    if operation == "skip":
        return session.skip()
    if operation == "give":
        t = session.frame_index + 1
        return session.step(FRAMES[t % len(FRAMES)], np.roll(LABELS, number, axis=1))
    if operation == "correct":
        mask = np.roll(LABELS, number, axis=0)
        mask[:8] = 255
        return session.correct(mask)
    if operation == "add":
        return session.add_objects(np.roll(OTHER + (OTHER > 0) * (number % 4), number, axis=0))
    ids = [number] if isinstance(number, int) else number
    return session.remove_objects(ids)


def attempted(session, operation, number):
    try:
        return operate(session, operation, number)
    except RMNetError as error:
        return repr(error)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    operations=OPERATIONS,
    size=st.sampled_from([None, 37]),
    every=st.integers(1, 3),
    limit=st.sampled_from([0, 1, 3, 256]),
)
def test_any_session_equals_one_that_was_tracked_from_the_start(
    operations, size, every, limit, tmp_path
):
    options = {"size": size, "memory": MemoryPolicy(every, None)}
    session = started(history=limit, **options)
    step(session)
    log = [("step", 0, 0, (3, 7))]  # what led here: operation, number, frame after it, objects
    for operation, number in operations:
        if operation == "save":
            session = reloaded(session, tmp_path)
            continue
        if operation != "rewind":
            known = session.objects or (9,)
            argument = known[number % len(known)] if operation == "remove" else number
            if not isinstance(attempted(session, operation, argument), str):
                log.append((operation, argument, session.frame_index, session.objects))
            continue
        goal = number % (session.frame_index + 3)
        read = [t for name, _, t, _ in log if name in ("step", "give")]
        if goal not in read[-1 - limit :]:
            before = session.frame_index, session.objects, session.memory_stats()
            with pytest.raises(SessionError, match=r"accepted: .*rewind\(\d+\)"):
                session.rewind(goal)
            assert (session.frame_index, session.objects, session.memory_stats()) == before
            continue
        result = session.rewind(goal)
        # Corrections after a skipped frame are of the one before it, and stay.
        after = next((t for t in read if t > goal), None)
        cut = next((i for i, x in enumerate(log) if after and x[2] >= after), len(log))
        dropped, log = log[cut:], [x for x in log[:cut] if x[0] != "skip" or x[2] < goal]
        log = [(name, n, min(t, goal), ids) for name, n, t, ids in log]
        gone = [n for name, n, *_ in dropped if name == "remove" and n in log[-1][3]]
        assert session.frame_index == goal
        if gone:
            log.append(("remove", sorted(set(gone)), goal, session.objects))
        fresh = replayed(log, options)
        assert session.objects == fresh.objects
        assert_same(result, fresh.rewind(goal))
    assert_same(step(session), step(replayed(log, options)))


def replayed(log, options):
    session = started(history=0, **options)
    for operation, number, *_ in log:
        operate(session, operation, number)
    return session


# --- What is refused ---------------------------------------------------------------------------


def refused(session, frame, match, error=SessionError):
    before = session.frame_index, session.objects, session.memory_stats()
    with pytest.raises(error, match=match):
        session.rewind(frame)
    assert (session.frame_index, session.objects, session.memory_stats()) == before


def test_a_session_without_a_frame_is_not_rewound():
    refused(started(), 0, r"rewind needs a frame; write step\(frame, mask\) first")


def test_a_frame_to_come_is_refused():
    session, _ = stepped(4)
    for frame in (4, 10**30):
        refused(
            session, frame, r"still to come; the last one is 3; accepted: .*0 to 3.*rewind\(3\)"
        )
    session.rewind(1)
    refused(session, 3, r"frame 3 is still to come; the last one is 1")


def test_a_skipped_frame_is_refused_and_its_neighbours_are_named():
    session, _ = stepped(3)
    session.skip()
    session.skip()
    refused(session, 4, r"frame 4 was skipped.*nearest being 2. Write rewind\(2\)")
    session.step(FRAMES[5])
    refused(session, 4, r"frame 4 was skipped.*nearest being 2 and 5. Write rewind\(5\)")


def test_a_frame_that_is_no_longer_kept_is_refused():
    session, _ = stepped(8, history=3)
    refused(session, 3, r"frame 3 is not kept.*history=3 .*accepted: frames 4 to 7.*rewind\(4\)")
    assert session.rewind(4).index == 4
    refused(session, 3, r"accepted: frame 4\. .*start\(history=4\)")


def test_a_frame_before_the_first_is_refused():
    session = started(first_index=5)
    session.step(FRAMES[0], LABELS)
    session.step(FRAMES[1])
    refused(session, 4, r"frame 4 is not kept: it is before the first.*accepted: frames 5 to 6")
    assert session.rewind(5).index == 5


@pytest.mark.parametrize("frame", [-1, True, 1.0, "1", None])
def test_what_is_no_frame_number_is_refused(frame):
    session, _ = stepped(2)
    refused(session, frame, "frame_index is .*accepted: an integer", ConfigError)
    assert session.rewind(np.int64(0)).index == 0


def test_without_a_history_only_the_last_frame_is_reached():
    session, first = stepped(3, history=0)
    refused(session, 1, r"history=0 .*accepted: frame 2.*start\(history=1\)")
    session.skip()
    assert_same(session.rewind(2), first[2])
    assert session.frame_index == 2


@pytest.mark.parametrize("wrong", [-1, True, 1.5, None, 10**6])
def test_a_history_of_another_kind_is_refused(wrong):
    with pytest.raises(ConfigError, match=r"history is .*accepted: an integer"):
        SEGMENTER.start(history=wrong)


# --- Disks, memory, copies ---------------------------------------------------------------------


@pytest.mark.parametrize("when", [0, 3])
def test_a_full_disk_ends_the_history_and_not_the_tracking(when, monkeypatch):
    _, expected = stepped(8)
    session, _ = stepped(when + 1)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(history_module._Chunk, "write", full)
        with pytest.warns(RuntimeWarning, match=r"keeps no more past frames \(No space left"):
            session.step(FRAMES[when + 1])
    for index in range(when + 2, 8):  # warnings are errors here: no other one follows
        assert_same(step(session), expected[index])
    refused(session, 2, r"could not be written \(No space left.*accepted: frame 7")


def test_a_warning_that_is_an_error_loses_no_frame(monkeypatch):
    _, expected = stepped(3)
    session, _ = stepped(1)

    def nowhere(*_, **__):
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(history_module.tempfile, "TemporaryFile", nowhere)
    with pytest.raises(RuntimeWarning, match="No usable temporary directory"):
        step(session)
    assert session.frame_index == 0
    for result in expected[1:]:
        assert_same(step(session), result)


def test_files_are_closed_with_the_session():
    opened = Path("/proc/self/fd")
    if not opened.is_dir():
        pytest.skip("no list of open files")
    gc.collect()
    before = len([*opened.iterdir()])
    session, _ = stepped(100, clip=SMALL_CLIP, history=40)
    assert before < len([*opened.iterdir()]) <= before + 4  # 16 frames a file
    del session
    gc.collect()
    assert len([*opened.iterdir()]) == before


def test_a_history_holds_few_files_and_bytes_however_often_it_is_rewound():
    session, _ = stepped(40, clip=SMALL_CLIP, history=40)
    chunks = {id(e.chunk): e.chunk for e in session._state.history._entries}
    size = sum(os.fstat(chunk._file.fileno()).st_size for chunk in chunks.values())
    for _ in range(10):
        session.rewind(session.frame_index - 20)
        for _ in range(21):
            step(session, SMALL_CLIP)
    chunks = {id(e.chunk): e.chunk for e in session._state.history._entries}
    assert len(session._state.history.frames) == 40
    assert sum(os.fstat(chunk._file.fileno()).st_size for chunk in chunks.values()) < 1.5 * size


def test_a_copy_of_a_session_has_a_history_of_its_own():
    session, first = stepped(6)
    twin = copy.deepcopy(session)
    session.rewind(2)
    session.correct(MOVED)
    for _ in range(4):
        step(session)
    assert_same(twin.rewind(3), first[3])
    assert_same(step(twin), first[4])


def test_a_forked_child_does_not_use_its_parents_files(monkeypatch):
    session, first = stepped(4)
    monkeypatch.setattr(history_module.os, "getpid", lambda: -1)
    refused(session, 1, "frame 1 is not kept")
    assert_same(step(session), stepped(5)[1][4])
    assert_same(session.rewind(3), first[3])


def test_a_rewind_that_runs_out_of_memory_changes_nothing(monkeypatch):
    session, first = stepped(6)
    with monkeypatch.context() as patch:
        patch.setattr("rmnet.tracking.session.segment", raising(MemoryError()))
        refused(session, 2, "memory ran out", DeviceMemoryError)
    assert_same(step(session), stepped(7)[1][6])
    assert_same(session.rewind(2), first[2])


def raising(error):
    def call(*_, **__):
        raise error

    return call


@pytest.mark.parametrize("call", ["step", "remove_objects"])
def test_a_call_that_failed_leaves_the_past_as_it_was(call, monkeypatch):
    session, first = stepped(5)
    with monkeypatch.context() as patch:
        patch.setattr("rmnet.tracking.session.segment", raising(MemoryError()))
        with pytest.raises(DeviceMemoryError):
            session.step(FRAMES[5]) if call == "step" else session.remove_objects(3)
    assert_same(session.rewind(4), first[4])
    assert_same(session.rewind(1), first[1])
    assert_same(step(session), first[2])


# --- Files -------------------------------------------------------------------------------------


def test_a_resumed_session_goes_back_like_the_saved_one(tmp_path):
    session, first = stepped(6, memory=MemoryPolicy(every=2, max_frames=3))
    session.add_objects(OTHER)
    step(session)
    session.remove_objects(3)
    session.rewind(5)  # leaves a free place in memory
    twin = reloaded(reloaded(session, tmp_path), tmp_path)
    for one in (session, twin):
        step(one)
    for k in (6, 4, 1):
        assert_same(twin.rewind(k), session.rewind(k))
        assert_same(step(twin), step(session))
    assert twin.options.history == 256
    assert first[0].object_ids == (3, 7)


def test_a_file_without_its_history_is_small_and_goes_on(tmp_path):
    session, _ = stepped(9)
    with_it = session.save(tmp_path / "a").stat().st_size
    twin = reloaded(session, tmp_path, history=False)
    assert (tmp_path / "session").stat().st_size < with_it - 8 * 11 * 64 * 96
    refused(twin, 2, r"from before the session was loaded; accepted: frame 8")
    assert_same(step(twin), step(session))
    assert twin.rewind(8).index == 8


def rewritten(path, change):
    """Change a file's header and rehash it, as the author of a crafted file would."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    header = json.loads(metadata[HEADER].partition(" ")[2])
    change(header, tensors)
    text = json.dumps(header)
    digest = tensors_sha256(tensors, start=text.encode())
    save_file(tensors, path, {HEADER: f"{digest} {text}"})
    return path


def test_a_file_of_format_1_is_resumed_without_a_history(tmp_path):
    def older(header, tensors):
        header["format_version"] = 1
        del header["history"], header["past"]

    session, _ = stepped(5)
    path = session.save(tmp_path / "session", history=False)
    twin = SEGMENTER.load_session(rewritten(path, older))
    refused(twin, 2, "history=0")
    assert_same(step(twin), step(session))
    refused(twin, 4, "history=0")


def put(*keys, value):
    def change(header, tensors):
        for key in keys[:-1]:
            header = header[key]
        header[keys[-1]] = value

    return change


def without_a_record(header, tensors):
    del tensors["past.1"]


def with_a_short_record(header, tensors):
    tensors["past.1"] = tensors["past.1"][:-1].clone()


def with_a_kept_free_slot(header, tensors):
    header["slots"][0] = [-1, True, True]


def in_another_order(header, tensors):
    header["past"].reverse()


@pytest.mark.parametrize(
    "change",
    [
        put("history", value=-1),
        put("history", value=2),  # there are three
        put("past", value=None),
        put("past", 0, value={}),
        put("past", 0, "index", value=3),  # the last one
        put("past", 1, "index", value=0),
        put("past", 0, "object_ids", value=[3]),
        put("past", 0, "object_ids", value=[7, 3]),
        put("past", 0, "given_ids", value=[9]),
        put("past", 0, "removed", value=[3]),
        put("past", 0, "video_size", value=[96, 64]),
        put("past", 0, "surprise", value=1),
        without_a_record,
        with_a_short_record,
        with_a_kept_free_slot,
        in_another_order,
    ],
)
def test_a_history_that_does_not_add_up_is_refused(change, tmp_path):
    session, _ = stepped(4)
    with pytest.raises(SessionFileError, match="is damaged"):
        SEGMENTER.load_session(rewritten(session.save(tmp_path / "session"), change))


def test_a_file_is_loaded_although_its_history_has_no_room(tmp_path, monkeypatch):
    session, _ = stepped(4)
    path = session.save(tmp_path / "session")
    full = raising(OSError(errno.ENOSPC, "No space left on device"))
    with monkeypatch.context() as patch:
        patch.setattr(history_module._Chunk, "write", full)
        with pytest.warns(RuntimeWarning, match="keeps no more past frames"):
            twin = SEGMENTER.load_session(path)
    assert_same(step(twin), step(session))
