"""Saved sessions resume exactly, and invalid files do no harm."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

import tiny
from rmnet import MemoryPolicy, RMNetError, RMNetSegmenter
from rmnet.errors import ConfigError, OutputError, SessionFileError
from rmnet.tracking.session_file import HEADER
from rmnet.weights.load import save_network

SEGMENTER = tiny.segmenter()
FRAMES, LABELS = tiny.clip(12)
OTHER = np.zeros_like(LABELS)
OTHER[2:14, 70:90] = 40


def assert_same(a, b):
    assert (a.index, a.object_ids, a.status, a.seconds) == (
        b.index,
        b.object_ids,
        b.status,
        b.seconds,
    )
    for name in ("labels", "scores", "boxes", "regions"):
        assert np.array_equal(getattr(a, name), getattr(b, name)), name
    if a.probabilities is not None or b.probabilities is not None:
        assert torch.equal(a.probabilities, b.probabilities)


def reloaded(session, folder, segmenter=SEGMENTER, **options):
    return segmenter.load_session(session.save(folder / "session"), **options)


def started(**options):
    return SEGMENTER.start(**({"keep_probabilities": True} | options))


def stepped(session, count, first=LABELS):
    for t in range(count):
        session.step(FRAMES[t], first if t == 0 else None, seconds=t / 25)
    return session


def before_the_first_frame():
    return started()


def after_the_first_frame():
    return stepped(started(), 1)


def in_the_middle():
    return stepped(started(), 4)


def with_a_given_size():
    return stepped(started(size=40), 4)


def at_native_size():
    return stepped(started(size="native"), 3)


def without_flow_and_probabilities():
    return stepped(started(flow="none", keep_probabilities=False), 3)


def on_regions_alone():
    return stepped(started(regional=True), 4)


def with_a_full_memory():
    return stepped(started(memory=MemoryPolicy(every=1, max_frames=3)), 8)


def with_an_unbounded_memory():
    return stepped(started(memory=MemoryPolicy(every=1, max_frames=None)), 8)


def with_more_memory_than_first_room():
    return stepped(started(memory=MemoryPolicy(every=1)), 11)


def after_a_correction():
    session = stepped(started(), 3)
    session.correct(np.roll(LABELS, 5, axis=1))
    return session


def after_a_correction_with_void():
    session = stepped(started(size=40), 3)
    mask = np.roll(LABELS, 5, axis=1)
    mask[10:30, 30:60] = 255
    session.correct(mask)
    session.correct({3: LABELS == 7})
    return session


def after_an_addition():
    session = stepped(started(), 3)
    session.add_objects(OTHER)
    return session


def after_a_removal():
    session = stepped(started(), 4)
    session.remove_objects(3)
    return session


def without_objects():
    session = stepped(started(), 4)
    session.remove_objects([3, 7])
    return session


def without_objects_for_a_frame():
    session = without_objects()
    session.step(FRAMES[4])
    return session


def with_a_lost_object():
    session = stepped(started(), 2)
    assert session.correct({3: LABELS == 99}).status[0] == "lost"
    return session


def after_a_refused_step():
    session = stepped(started(), 3)
    with pytest.raises(RMNetError):
        session.step(FRAMES[3][:20])
    return session


def after_skipped_frames():
    session = stepped(started(), 3)
    session.skip("broken")
    session.skip("broken too")
    return session


def with_large_ids():
    labels = LABELS.astype(np.int64)
    labels[labels == 7] = 2**31 - 1
    return stepped(started(), 3, labels)


MOMENTS = [
    before_the_first_frame,
    after_the_first_frame,
    in_the_middle,
    with_a_given_size,
    at_native_size,
    without_flow_and_probabilities,
    on_regions_alone,
    with_a_full_memory,
    with_an_unbounded_memory,
    with_more_memory_than_first_room,
    after_a_correction,
    after_a_correction_with_void,
    after_an_addition,
    after_a_removal,
    without_objects,
    without_objects_for_a_frame,
    with_a_lost_object,
    after_a_refused_step,
    after_skipped_frames,
    with_large_ids,
]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_loaded_session_continues_like_the_saved_one(moment, tmp_path):
    session = moment()
    copy = reloaded(session, tmp_path)
    assert copy.objects == session.objects
    assert copy.frame_index == session.frame_index
    assert copy.memory_stats().frames == session.memory_stats().frames
    assert copy.memory_stats().pinned_frames == session.memory_stats().pinned_frames
    start = 0 if session.frame_index is None else session.frame_index + 1
    for t in range(start, len(FRAMES)):
        mask = LABELS if t == 0 else None
        assert_same(session.step(FRAMES[t], mask), copy.step(FRAMES[t], mask))
    if session.objects:
        one = session.objects[0]
        assert_same(session.correct({one: LABELS == 3}), copy.correct({one: LABELS == 3}))
        assert_same(session.remove_objects(one), copy.remove_objects(one))


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("step"), st.none()),
        st.tuples(st.just("give"), st.integers(0, 40)),
        st.tuples(st.just("correct"), st.integers(0, 40)),
        st.tuples(st.just("empty"), st.integers(0, 5)),
        st.tuples(st.just("add"), st.integers(1, 4)),
        st.tuples(st.just("remove"), st.integers(0, 5)),
        st.tuples(st.just("skip"), st.none()),
        st.tuples(st.just("save"), st.none()),
    ),
    min_size=3,
    max_size=14,
)


def operate(session, t, operation, number):
    """Run one operation and return its result; a library error counts as a result."""
    try:
        if operation in ("step", "give"):
            mask = np.roll(LABELS, number, axis=1) if operation == "give" else None
            return session.step(FRAMES[t % len(FRAMES)], mask)
        if operation == "correct":
            mask = np.roll(LABELS, number, axis=0)
            mask[:8] = 255
            return session.correct(mask)
        if operation == "empty":
            return session.correct({session.objects[number % len(session.objects)]: LABELS < 0})
        if operation == "skip":
            return session.skip()
        if operation == "add":
            return session.add_objects(np.roll(OTHER + (OTHER > 0) * number, 3 * number, axis=0))
        return session.remove_objects(session.objects[number % len(session.objects)])
    except (RMNetError, ZeroDivisionError, IndexError) as error:
        return repr(error)


# All examples share the fixture's folder, which is fine: each file replaces the last.
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    operations=OPERATIONS,
    size=st.sampled_from([None, 37]),
    policy=st.builds(MemoryPolicy, st.integers(1, 3), st.sampled_from([2, 3, 5, None])),
)
def test_a_saved_session_equals_its_unsaved_twin_after_any_operations(
    operations, size, policy, tmp_path
):
    twin = started(size=size, memory=policy)
    saved = started(size=size, memory=policy)
    for session in (twin, saved):
        stepped(session, 2)
    for t, (operation, number) in enumerate(operations, start=2):
        if operation == "save":
            saved = reloaded(saved, tmp_path)
            continue
        a, b = operate(twin, t, operation, number), operate(saved, t, operation, number)
        if isinstance(a, str):
            assert a == b
        else:
            assert_same(a, b)
    saved = reloaded(saved, tmp_path)
    a, b = operate(twin, 0, "step", None), operate(saved, 0, "step", None)
    assert a == b if isinstance(a, str) else assert_same(a, b) is None


CONTINUE = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
import tiny
from rmnet import RMNetSegmenter

segmenter = RMNetSegmenter.from_pretrained(sys.argv[2], device="cpu")
session = segmenter.load_session(sys.argv[3])
frames, _ = tiny.clip(12)
total = hashlib.sha256()
for frame in frames[session.frame_index + 1:]:
    result = session.step(frame)
    total.update(result.labels.tobytes() + result.probabilities.numpy().tobytes())
print(total.hexdigest())
"""


def test_another_process_continues_with_the_same_bytes(tmp_path):
    import hashlib

    save_network(tiny.network(), tmp_path / "weights")
    path = in_the_middle().save(tmp_path / "clip.session")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            CONTINUE,
            str(Path(__file__).parents[1]),
            tmp_path / "weights",
            path,
        ],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
    )
    session, total = in_the_middle(), hashlib.sha256()
    for frame in FRAMES[4:]:
        result = session.step(frame)
        total.update(result.labels.tobytes() + result.probabilities.numpy().tobytes())
    assert done.stdout.strip() == total.hexdigest()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sessions_in_reduced_precision_continue_too(dtype, tmp_path):
    segmenter = SEGMENTER.to(dtype=dtype)
    session = stepped(segmenter.start(keep_probabilities=True), 3)
    copy = reloaded(session, tmp_path, segmenter)
    assert_same(session.step(FRAMES[3]), copy.step(FRAMES[3]))


def test_a_session_may_be_loaded_repeatedly_and_continue_itself(tmp_path):
    session = in_the_middle()
    copies = [reloaded(session, tmp_path) for _ in range(2)]
    expected = session.step(FRAMES[4])
    for copy in copies:
        assert_same(expected, copy.step(FRAMES[4]))


def test_saving_again_gives_the_same_file(tmp_path):
    session = in_the_middle()
    first = session.save(tmp_path / "a").read_bytes()
    assert session.save(str(tmp_path / "a")).read_bytes() == first
    assert reloaded(session, tmp_path).save(tmp_path / "b").read_bytes() == first


def test_only_used_slots_are_in_the_file(tmp_path):
    path = in_the_middle().save(tmp_path / "session")
    with safe_open(path, framework="pt") as file:
        assert file.get_slice("memory.key").get_shape()[:2] == [2, 2]


def test_a_flow_function_is_given_again(tmp_path):
    def flow(current, previous):
        return np.full((2, *current.shape[:2]), -3, dtype=np.float32)

    session = stepped(started(flow=flow), 3)
    path = session.save(tmp_path / "session")
    with pytest.raises(ConfigError, match=r"saved with a function.*load_session\(path, flow="):
        SEGMENTER.load_session(path)
    copy = SEGMENTER.load_session(path, flow=flow)
    assert_same(session.step(FRAMES[3]), copy.step(FRAMES[3]))
    plain = in_the_middle().save(tmp_path / "plain")
    with pytest.raises(ConfigError, match="Leave flow out"):
        SEGMENTER.load_session(plain, flow=flow)


def test_numpy_numbers_in_the_options_are_saved_too(tmp_path):
    session = started(memory=MemoryPolicy(np.int64(2), np.int32(5)), size=np.int64(40))
    session.step(FRAMES[0], {np.int64(3): LABELS == 3}, seconds=np.float32(0.5))
    copy = reloaded(session, tmp_path)
    assert_same(session.step(FRAMES[1]), copy.step(FRAMES[1]))


# --- Files that are refused --------------------------------------------------------------------


def test_other_weights_are_refused(tmp_path):
    path = in_the_middle().save(tmp_path / "session")
    with pytest.raises(SessionFileError, match=r"other weights.*weights_sha256.*from_pretrained"):
        tiny.segmenter(seed=1).load_session(path)


def test_another_precision_is_refused(tmp_path):
    path = in_the_middle().save(tmp_path / "session")
    with pytest.raises(SessionFileError, match=r"segmenter\.to\(dtype=torch\.float32\)"):
        SEGMENTER.to(dtype=torch.bfloat16).load_session(path)


def test_a_missing_file_and_a_folder_are_reported(tmp_path):
    with pytest.raises(SessionFileError, match="does not exist"):
        SEGMENTER.load_session(tmp_path / "nowhere")
    with pytest.raises(OSError, match="is not a file"):
        SEGMENTER.load_session(tmp_path)


def test_an_unwritable_path_is_reported_and_nothing_is_left_behind(tmp_path):
    with pytest.raises(OutputError, match="cannot be written"):
        in_the_middle().save(tmp_path / "nowhere" / "session")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        in_the_middle().save(tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_weights_are_not_a_session(tmp_path):
    save_network(tiny.network(), tmp_path)
    with pytest.raises(SessionFileError, match="another kind of safetensors"):
        SEGMENTER.load_session(tmp_path / "model.safetensors")


def test_a_pickle_is_never_opened(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "exploded"),))

    torch.save(Bomb(), tmp_path / "session")
    with pytest.raises(SessionFileError, match="is damaged"):
        SEGMENTER.load_session(tmp_path / "session")
    assert not (tmp_path / "exploded").exists()


def rewritten(path, change):
    """Change a file's header or tensors and rehash it, as the author of a crafted file would."""
    from rmnet.weights.hashes import tensors_sha256

    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    header = json.loads(metadata[HEADER].partition(" ")[2])
    change(header, tensors)
    text = json.dumps(header)
    digest = tensors_sha256(tensors, start=text.encode())
    save_file(tensors, path, {HEADER: f"{digest} {text}"})
    return path


def put(*keys, value):
    def change(header, tensors):
        for key in keys[:-1]:
            header = header[key]
        header[keys[-1]] = value

    return change


def put_tensor(name, value):
    def change(header, tensors):
        tensors[name] = value

    return change


def far_regions(header, tensors):
    tensors["memory.boxes"][0, 0, 2] = 10**6


@pytest.mark.parametrize(
    "change",
    [
        put("format_version", value=3),
        put("next_index", value=-1),
        put("next_index", value=10**30),
        put("next_index", value=2),  # frame 3 is in memory
        put("every", value=0),
        put("max_frames", value=1),
        put("max_frames", value=True),
        put("flow", value="os.system"),
        put("flow", value=["tiny"]),
        put("dtype", value="int8"),
        put("keep_probabilities", value=1),
        put("regional", value=None),
        put("shorter_side", value=10),
        put("slots", value=[[0, True, True]] * 2),
        put("slots", value=[[0, True, True]]),
        put("slots", value="00"),
        put("last", value=None),
        put("last", value=[]),
        put("last", "video_size", value=[10**9, 10**9]),
        put("last", "index", value=1),  # frame 2 is in memory
        put("last", "index", value=4),  # there are only four frames
        put("last", "index", value=-1),
        put("last", "video_size", value=[64]),
        put("last", "object_ids", value=[3]),
        put("last", "object_ids", value=[3, 3]),
        put("last", "object_ids", value=[3, 2**31]),
        put("last", "given_ids", value=[3]),
        put("last", "given_ids", value=[]),
        put("last", "regions", value=[[3, 0, 0]]),
        put("last", "seconds", value="now"),
        put("last", "code", value="import os"),
        put("surprise", value=0),
        put_tensor("last.pixels", torch.zeros(3, 64, 96)),
        put_tensor("last.pixels", torch.zeros(3, 63, 96, dtype=torch.uint8)),
        put_tensor("memory.key", torch.zeros(1)),
        put_tensor("surprise", torch.zeros(1)),
        far_regions,
    ],
)
def test_a_header_that_does_not_add_up_is_refused(change, tmp_path):
    path = rewritten(in_the_middle().save(tmp_path / "session"), change)
    with pytest.raises(SessionFileError, match=r"session'? |header"):
        SEGMENTER.load_session(path)


def test_an_unchanged_header_is_accepted(tmp_path):
    path = rewritten(in_the_middle().save(tmp_path / "session"), lambda header, tensors: None)
    assert SEGMENTER.load_session(path).frame_index == 3


def test_a_bool_byte_other_than_0_or_1_counts_as_true(tmp_path):
    path = after_the_first_frame().save(tmp_path / "session")
    rewritten(
        path,
        put_tensor("given.void", torch.full((2, 64, 96), 77, dtype=torch.uint8).view(torch.bool)),
    )
    void = SEGMENTER.load_session(path)._state.last.estimate.given.void
    assert set(void.view(torch.uint8).unique().tolist()) == {1}


@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.9, 0.999999])
def test_a_file_that_ends_early_is_refused(share, tmp_path):
    path = in_the_middle().save(tmp_path / "session")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(SessionFileError, match="damaged"):
        SEGMENTER.load_session(path)


CONTENT = {}


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_changed_bytes_are_refused(data, tmp_path):
    path = tmp_path / "session"
    if path not in CONTENT:
        CONTENT[path] = after_a_correction_with_void().save(path).read_bytes()
    content = bytearray(CONTENT[path])
    header = 8 + int.from_bytes(content[:8], "little")
    # Half of the changes go into the header, which is the part that is parsed.
    places = st.one_of(st.integers(0, header), st.integers(0, len(content) - 1))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(places)
        run = data.draw(st.binary(min_size=1, max_size=4))
        content[place : place + len(run)] = run
    path.write_bytes(content)
    if bytes(content) == CONTENT[path]:
        return
    try:
        session = SEGMENTER.load_session(path)
    except SessionFileError:
        return
    # A change of whitespace or of the order of names leaves the content the same.
    assert_same(after_a_correction_with_void().step(FRAMES[3]), session.step(FRAMES[3]))


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(content=st.binary(max_size=300))
def test_any_bytes_are_refused(content, tmp_path):
    (tmp_path / "session").write_bytes(content)
    with pytest.raises(SessionFileError):
        SEGMENTER.load_session(tmp_path / "session")


def test_sessions_are_saved_in_threads_while_others_step(tmp_path):
    found, expected = {}, in_the_middle().step(FRAMES[4])

    def work(number):
        (tmp_path / str(number)).mkdir()
        found[number] = reloaded(in_the_middle(), tmp_path / str(number)).step(FRAMES[4])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    for result in found.values():
        assert_same(expected, result)


def test_fingerprints_tell_weights_and_configurations_apart(tmp_path):
    save_network(tiny.network(), tmp_path)
    one = RMNetSegmenter.from_pretrained(tmp_path, device="cpu").fingerprint
    assert one == SEGMENTER.fingerprint == SEGMENTER.to(dtype=torch.bfloat16).fingerprint
    assert one.weights_sha256 != tiny.segmenter(seed=1).fingerprint.weights_sha256
    other = SEGMENTER.with_config(box_margin=32).fingerprint  # SEGMENTER's own is known by now
    assert other.weights_sha256 == one.weights_sha256
    assert other.config_sha256 != one.config_sha256
