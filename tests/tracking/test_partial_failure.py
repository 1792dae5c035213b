"""Finished work survives damaged frames, full disks, full memory and Ctrl-C."""

import errno
import json
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

import tiny
from rmnet import MemoryPolicy
from rmnet.cli import main
from rmnet.errors import DeviceMemoryError, OutputError, SessionError, VideoError
from rmnet.io.frame_source import open_frames
from rmnet.io.label_png import read_label_png, write_label_png

FRAMES, LABELS = tiny.clip(7)
BAD = 3


@pytest.fixture(scope="module")
def segmenter():
    return tiny.segmenter()


@pytest.fixture
def folder(tmp_path):
    """A folder of images, one of them truncated."""
    place = tmp_path / "frames"
    place.mkdir()
    for index, frame in enumerate(FRAMES):
        Image.fromarray(frame).save(place / f"{index}.png")
    damaged = place / f"{BAD}.png"
    damaged.write_bytes(damaged.read_bytes()[:500])
    return place


def video(path, frames=FRAMES, damage=None, codec="mjpeg", **options):
    """Write a video; with `damage`, the bytes of that frame are zeros."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=24)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuvj444p" if codec == "mjpeg" else "yuv420p"
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    if damage is not None:
        content = bytearray(path.read_bytes())
        starts = [i for i in range(len(content) - 2) if content[i : i + 3] == b"\xff\xd8\xff"]
        content[starts[damage] : starts[damage + 1]] = bytes(starts[damage + 1] - starts[damage])
        path.write_bytes(content)
    return path


# --- frames that cannot be decoded -------------------------------------------------------------


def test_a_damaged_frame_stops_track_which_returns_the_results_so_far(segmenter, folder, tmp_path):
    with pytest.raises(VideoError, match=rf"frame {BAD}, .* cannot be read") as caught:
        segmenter.track(folder, LABELS)
    partial = caught.value.partial
    whole = segmenter.track(FRAMES[:BAD], LABELS)
    assert [result.index for result in partial] == [0, 1, 2]
    np.testing.assert_array_equal(partial.labels, whole.labels)
    saved = partial.save_masks(tmp_path / "masks")
    assert [path.name for path in saved] == ["0.png", "1.png", "2.png"]


def test_partial_results_can_be_drawn(segmenter, tmp_path):
    path = video(tmp_path / "v.mp4", damage=BAD)
    with pytest.raises(VideoError) as caught:
        segmenter.track(path, LABELS)
    assert len(list(open_frames(caught.value.partial.save_video(tmp_path / "o.mp4")))) == BAD


def test_any_interruption_of_track_carries_the_results(segmenter):
    def camera():
        yield from FRAMES[:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        segmenter.track(camera(), LABELS)
    assert len(caught.value.partial) == 2


def test_a_skipped_frame_is_marked_and_its_result_is_empty(segmenter, folder):
    results = segmenter.track(folder, LABELS, on_bad_frame="skip", keep_probabilities=True)
    assert [result.index for result in results] == list(range(len(FRAMES)))
    skipped = results[BAD]
    assert "cannot be read" in skipped.skipped
    assert skipped.status == ("skipped", "skipped")
    assert skipped.object_ids == results[BAD - 1].object_ids
    assert not skipped.labels.any()
    assert not skipped.scores.any()
    assert not skipped.boxes.any()
    assert (skipped.probabilities[0] == 1).all()
    assert [result.skipped for result in results if result.index != BAD] == [None] * 6


def test_corrections_after_a_skipped_frame_apply_to_the_last_frame_seen(segmenter):
    session = segmenter.start(memory=MemoryPolicy(every=1))
    for index in range(BAD):
        session.step(FRAMES[index], LABELS if index == 0 else None)
    assert session.skip("gone").index == session.frame_index == BAD
    assert session.correct(LABELS).index == BAD - 1
    assert session.step(FRAMES[BAD + 1]).index == BAD + 1
    assert session.memory_stats().frames == (0, 1, 2)


def test_on_bad_frame_skip_matches_skip_in_a_session(segmenter, folder):
    results = segmenter.track(folder, LABELS, on_bad_frame="skip")
    session = segmenter.start()
    for index, frame in enumerate(FRAMES):
        mask = LABELS if index == 0 else None
        one = session.skip() if index == BAD else session.step(frame, mask)
        np.testing.assert_array_equal(results[index].labels, one.labels)
        assert results[index].status == one.status


def test_skipping_before_any_frame_is_refused(segmenter):
    with pytest.raises(SessionError, match=r"skip .*step"):
        segmenter.start().skip()


@pytest.mark.parametrize("given", [{BAD: LABELS}, {0: LABELS, BAD: LABELS}])
def test_a_frame_with_a_mask_of_its_own_is_never_skipped(segmenter, folder, given):
    with pytest.raises(VideoError, match=f"frame {BAD}") as caught:
        segmenter.track(folder, masks=given, on_bad_frame="skip")
    assert len(caught.value.partial) == BAD


def test_a_damaged_frame_before_the_first_mask_is_skipped_too(segmenter, folder):
    results = segmenter.track(folder, masks={BAD + 1: LABELS}, on_bad_frame="skip")
    assert results[BAD].skipped
    assert results[BAD].status == ()


def test_an_unknown_choice_is_refused_before_a_frame_is_read(segmenter):
    with pytest.raises(ValueError, match=r'ignore.*accepted: "stop" or "skip"'):
        segmenter.stream("gone", LABELS, on_bad_frame="ignore")


def test_a_damaged_frame_of_a_video_is_skipped_and_the_rest_decoded(segmenter, tmp_path):
    path = video(tmp_path / "v.mp4", damage=BAD)
    results = segmenter.track(path, LABELS, on_bad_frame="skip")
    assert [result.skipped is not None for result in results] == [i == BAD for i in range(7)]
    drawn = results.save_video(tmp_path / "overlay.mp4")
    assert len(list(open_frames(drawn))) == len(FRAMES) - 1


def test_a_video_that_ends_early_says_so(tmp_path):
    frames = tiny.clip(40, (32, 48))[0]
    path = video(tmp_path / "v.mp4", frames, codec="libx264", movflags="faststart")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(open_frames(path))) == 40
    content = path.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(content[: len(content) * 6 // 10])
    with pytest.warns(RuntimeWarning, match=r"cut.mp4' ended after \d+ frames, but claims 40"):
        count = sum(not isinstance(frame, VideoError) for frame, _ in open_frames(cut).attempted())
    assert 5 < count < 35


# --- full memory, Ctrl-C -----------------------------------------------------------------------


class FailAt(TorchDispatchMode):
    """Mode in which the n-th torch operation raises an error."""

    def __init__(self, number, error):
        super().__init__()
        self.left, self.error = number, error

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        del types
        self.left -= 1
        if self.left == 0:
            raise self.error
        return func(*args, **(kwargs or {}))


def operations(call):
    counter = FailAt(0, None)
    with counter:
        call()
    return -counter.left


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), DeviceMemoryError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
    ids=["full memory", "Ctrl-C"],
)
@pytest.mark.parametrize("call", ["step", "add_objects", "remove_objects"])
def test_a_call_that_fails_anywhere_leaves_the_session_as_it_was(segmenter, error, raised, call):
    """Fail at every 37th or 5th torch operation; a retry must match a session that never failed."""
    third = np.zeros_like(LABELS)
    third[-12:, :12] = 9

    def begin():
        session = segmenter.start(memory=MemoryPolicy(every=1, max_frames=3))
        for index in range(4):  # fill the memory, so the next step evicts
            session.step(FRAMES[index], LABELS if index == 0 else None)
        return session

    def go(session):
        if call == "step":
            return session.step(FRAMES[4], third)
        return session.add_objects(third) if call == "add_objects" else session.remove_objects(3)

    def end(session):
        return session.step(FRAMES[5]).labels

    reference = begin()
    count = operations(lambda: go(reference))
    expected = end(reference)
    numbers = range(1, count + 1, 37 if call == "step" else 5)
    assert len(numbers) > 5
    for number in numbers:
        session = begin()
        with pytest.raises(raised), FailAt(number, error):
            go(session)
        go(session)
        np.testing.assert_array_equal(end(session), expected)


def test_the_error_of_full_memory_says_what_helps_and_holds_no_tensors(segmenter, monkeypatch):
    session = segmenter.start()
    session.step(FRAMES[0], LABELS)

    def full(*args, **options):
        tensor = torch.ones(10)  # a traceback would keep it alive
        raise torch.OutOfMemoryError(f"CUDA out of memory {tensor.sum()}\nmuch more text")

    with monkeypatch.context() as patch:
        patch.setattr("rmnet.tracking.step.propagate", full)
        with pytest.raises(DeviceMemoryError, match=r"size=.*max_frames.*fewer objects") as caught:
            session.step(FRAMES[1])
    assert isinstance(caught.value, MemoryError)
    assert "much more" not in str(caught.value)
    assert caught.value.__cause__.__traceback__ is None
    assert session.step(FRAMES[1]).index == 1


def test_other_torch_errors_are_not_mistaken_for_full_memory(segmenter, monkeypatch):
    session = segmenter.start()
    session.step(FRAMES[0], LABELS)

    def broken(*args, **options):
        raise RuntimeError("something else")

    monkeypatch.setattr("rmnet.tracking.step.propagate", broken)
    with pytest.raises(RuntimeError, match="something else"):
        session.step(FRAMES[1])


# --- paths that cannot be written --------------------------------------------------------------

# A limit on file size makes the same calls fail as a full disk does, and needs no privileges.
FULL_DISK = """
import json, resource, sys
from pathlib import Path
import numpy as np
import tiny
from rmnet import RMNetError
from rmnet.evaluation import Benchmark, Record
from rmnet.io.label_png import write_label_png
from rmnet.io.video_writer import VideoWriter

place = Path(sys.argv[1])
noise = np.random.default_rng(0).integers(0, 200, (300, 300))
segmenter = tiny.segmenter()
results = segmenter.track(*tiny.clip(3, (300, 300)), size=32)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))

def overlay():
    with VideoWriter(place / "old.mp4") as writer:
        for _ in range(20):
            writer.write(np.repeat(noise[..., None], 3, 2).astype(np.uint8))

def record():
    options = {"much": "x" * 100_000}
    Record(place, Benchmark({}, [], lambda rows: {}), options=options, facts={}, resume=False).write()

calls = {
    "png": lambda: write_label_png(place / "old.png", noise),
    "masks": lambda: results.save_masks(place / "masks"),
    "weights": lambda: segmenter.save_pretrained(place / "weights"),
    "video": overlay,
    "record": record,
}
answers = {}
for name, call in calls.items():
    try:
        call()
        answers[name] = "done"
    except RMNetError as error:
        answers[name] = [type(error).__name__, error.errno, str(error)]
print(json.dumps(answers))
"""


def run(program, *args, check=True):
    paths = [os.environ.get("PYTHONPATH", ""), str(Path(__file__).parents[1]), *sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, args)],
        env=environment, capture_output=True, text=True, check=check, timeout=120,
    )  # fmt: skip


def check_nothing_is_half_written(place):
    assert (place / "old.png").read_bytes() == b"old"
    assert (place / "old.mp4").read_bytes() == b"old"
    assert (place / "results.json").read_bytes() == b"old"
    left = {path.name for path in place.rglob("*") if path.is_file()}
    assert left <= {"old.png", "old.mp4", "results.json", *(f"0000{i}.png" for i in range(3))}
    assert not [path for path in place.rglob("*") if path.name.startswith(".")]


@pytest.fixture
def place(tmp_path):
    fill(tmp_path / "place")
    return tmp_path / "place"


def fill(folder):
    folder.mkdir(exist_ok=True)
    for name in ("old.png", "old.mp4", "results.json"):
        (folder / name).write_bytes(b"old")


@pytest.mark.slow
def test_a_full_disk_raises_our_error_and_leaves_nothing_half_written(place):
    pytest.importorskip("resource")
    pytest.importorskip("av")
    answers = json.loads(run(FULL_DISK, place, 1000).stdout)
    for name, answer in answers.items():
        if name == "masks":
            continue  # small enough for the limit
        assert answer[0] == ("VideoError" if name == "video" else "OutputError"), answers
        assert "cannot be written" in answer[2]
        assert name == "video" or answer[1] == errno.EFBIG
    check_nothing_is_half_written(place)


@pytest.mark.slow
def test_a_disk_that_is_really_full(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24k", "tmpfs", str(disk)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a file system is not permitted")
    try:
        fill(disk)
        answers = json.loads(run(FULL_DISK, disk, 2**40).stdout)
        for name in ("png", "weights", "record"):
            assert answers[name][:2] == ["OutputError", errno.ENOSPC]
            assert "No space left" in answers[name][2]
        assert answers["video"][0] == "VideoError"
        check_nothing_is_half_written(disk)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_file_where_the_folder_should_be_is_named(segmenter, tmp_path):
    (tmp_path / "taken").write_text("mine")
    results = segmenter.track(FRAMES[:1], LABELS)
    for folder in (tmp_path / "taken", tmp_path / "taken" / "below", tmp_path / "nul\0"):
        with pytest.raises(OutputError, match=r"cannot be written: .*writable folder"):
            results.save_masks(folder)
    with pytest.raises(OutputError, match="cannot be written"):
        segmenter.save_pretrained(tmp_path / "taken" / "below")
    assert (tmp_path / "taken").read_text() == "mine"


def test_a_folder_without_write_permission_is_named(segmenter, tmp_path):
    place = tmp_path / "place"
    place.mkdir(mode=0o500)
    if os.access(place, os.W_OK):
        pytest.skip("this user can write anywhere")
    with pytest.raises(OutputError, match="Permission denied"):
        segmenter.track(FRAMES[:1], LABELS).save_masks(place)


def test_names_as_long_as_a_file_system_allows_are_written(segmenter, tmp_path):
    source = tmp_path / "frames"
    source.mkdir()
    name = "x" * 251  # 255 characters with ".png"
    Image.fromarray(FRAMES[0]).save(source / f"{name}.png")
    results = segmenter.track(source, LABELS)
    (path,) = results.save_masks(tmp_path / "masks")
    np.testing.assert_array_equal(read_label_png(path), LABELS)


def test_a_link_in_the_output_is_replaced_not_followed(tmp_path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "0.png").symlink_to(tmp_path / "mine")
    write_label_png(tmp_path / "0.png", LABELS)
    assert (tmp_path / "mine").read_text() == "mine"
    np.testing.assert_array_equal(read_label_png(tmp_path / "0.png"), LABELS)


# --- the command line --------------------------------------------------------------------------


@pytest.fixture
def command(tmp_path, segmenter, folder):
    weights = segmenter.save_pretrained(tmp_path / "weights")
    write_label_png(tmp_path / "first.png", LABELS)
    return [
        "track", str(folder), str(tmp_path / "first.png"), "-o", str(tmp_path / "out"),
        "--weights", str(weights), "--device", "cpu",
    ]  # fmt: skip


def test_the_command_skips_a_damaged_frame_if_told(command, tmp_path, capsys):
    pytest.importorskip("av")
    pytest.importorskip("pycocotools")
    more = ["--on-bad-frame", "skip", "--rle", str(tmp_path / "out.json")]
    assert main([*command, *more, "--overlay", str(tmp_path / "o.mp4")]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("7 frames, 2 objects (3, 7), ")
    assert f"; skipped as unreadable in frames {BAD}" in printed
    assert not read_label_png(tmp_path / "out" / f"{BAD}.png").any()
    rows = json.loads((tmp_path / "out.json").read_text())
    assert [row["frame"] for row in rows if "skipped" in row] == [BAD]
    assert len(list(open_frames(tmp_path / "o.mp4"))) == len(FRAMES) - 1


def test_the_command_stops_at_a_damaged_frame_and_keeps_the_rest(command, tmp_path, capsys):
    assert main(command) == 1
    assert "stopped after 3 frames" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0.png", "1.png", "2.png"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no signals")
def test_ctrl_c_keeps_what_is_written(command, tmp_path, folder):
    """Send a real signal to a real process while it tracks."""
    Image.fromarray(FRAMES[BAD]).save(folder / f"{BAD}.png")
    for index in range(7, 400):
        Image.fromarray(FRAMES[0]).save(folder / f"{index}.png")
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys, rmnet.cli; sys.exit(rmnet.cli.main())", *command,
         "--rle", str(tmp_path / "out.json")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # This test may run in a shell's background job, where the signal is ignored by default.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 no threads
    )  # fmt: skip
    out = tmp_path / "out"
    while process.poll() is None and not (out / "5.png").exists():
        pass
    process.send_signal(signal.SIGINT)
    printed, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "stopped after" in printed
    rows = json.loads((tmp_path / "out.json").read_text())
    masks = sorted(out.iterdir())
    assert len(rows) > 4
    assert len(masks) - len(rows) in (0, 1)  # the signal may arrive between a frame's two files
    assert not [path for path in masks if path.name.startswith(".")]
    for path in masks:
        read_label_png(path)
