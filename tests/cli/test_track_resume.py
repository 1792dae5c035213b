"""`rmnet track` stopped at any moment: whole files only, and the same masks in the end."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import tiny
from rmnet import TrackingSession
from rmnet.cli import main
from rmnet.cli.track_output import TrackOutput
from rmnet.cli.track_resume import FOLDER
from rmnet.demo import make_clip
from rmnet.io.frame_source import open_frames
from rmnet.io.label_png import read_label_png, write_label_png
from rmnet.io.video_writer import VideoWriter
from rmnet.io.whole_files import remove_unfinished, unfinished_path
from rmnet.weights.load import save_network

SIZE, NUM_FRAMES = (48, 80), 6


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with weights/, frames/, clip.mp4, first.png and late.png."""
    root = tmp_path_factory.mktemp("resume")
    save_network(tiny.network(), root / "weights")
    clip = make_clip(num_frames=NUM_FRAMES, size=SIZE)
    (root / "frames").mkdir()
    with VideoWriter(root / "clip.mp4", frames_per_second=25) as writer:
        for index, frame in enumerate(clip.frames):
            Image.fromarray(frame).save(root / "frames" / f"f{index}.jpg", quality=95)
            writer.write(frame)
    write_label_png(root / "first.png", clip.labels[0])
    late = np.zeros(SIZE, np.uint8)
    late[4:12, 4:16] = 9
    write_label_png(root / "late.png", late)
    return root


def command(place, output, *options, video="frames", first="first.png"):
    """Return the arguments of a run that writes all outputs and saves after every frame."""
    arguments = [place / video, place / first, "-o", output, "--weights", place / "weights"]
    arguments += ["--mask", f"3:{place / 'late.png'}", "--device", "cpu", "--every", "2"]
    arguments += ["--overlay", output / "o.mp4", "--show-regions", "--rle", output / "r.json"]
    return [str(x) for x in ("track", *arguments, "--checkpoint", "0", *options)]


def contents(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def assert_same_files(found, files):
    """Compare byte for byte; overlays by their pictures, since encoder threads may differ."""
    assert found.keys() == files.keys()
    for name, content in files.items():
        if name == "o.mp4":
            assert_same_video(found[name], content)
        else:
            assert found[name] == content, name


def assert_same_video(one, other):
    if one == other:
        return
    a, b = (decoded(content) for content in (one, other))
    assert a.shape == b.shape
    # Runs that nobody stopped differ by up to 3.5 once in a few hundred, when the machine is busy; a
    # frame without its search regions by 6, another frame by 17.
    assert abs(a.astype(int) - b).mean(axis=(1, 2, 3)).max() < 5


def decoded(video):
    with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
        file.write(video)
        file.flush()
        return np.stack(list(open_frames(file.name)))


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Compute as in the server: PyTorch rounds otherwise with another number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", params=["frames", "clip.mp4"])
def unbroken(request, place, tmp_path_factory):
    """A video, and the files of an uninterrupted run."""
    output = tmp_path_factory.mktemp("unbroken")
    assert main(command(place, output, "-q", video=request.param)) == 0
    files = contents(output)
    assert len(files) == NUM_FRAMES + 2
    return request.param, files


@pytest.fixture
def stop(monkeypatch):
    """Stop the run with an exception before it tracks a frame."""

    def stop_at(index, error=KeyboardInterrupt):
        original = TrackingSession.step

        def step(self, *args, **options):
            if (0 if self.frame_index is None else self.frame_index + 1) == index:
                raise error
            return original(self, *args, **options)

        monkeypatch.setattr(TrackingSession, "step", step)

    return stop_at


@pytest.mark.parametrize("index", [1, 3, NUM_FRAMES - 1])
def test_the_same_command_resumes_after_ctrl_c(
    unbroken, place, tmp_path, stop, index, capsys, monkeypatch
):
    video, files = unbroken
    with monkeypatch.context():
        stop(index)
        assert main(command(place, tmp_path, video=video)) == 130
    output, error = capsys.readouterr()
    assert output.startswith(f"stopped after {index} frame")
    assert output.endswith("; the same command resumes it\n")
    monkeypatch.undo()
    steps = count_steps(monkeypatch)
    assert main(command(place, tmp_path, video=video)) == 0
    output, error = capsys.readouterr()
    assert f"resuming at frame {index}" in error
    assert output.startswith(f"{NUM_FRAMES} frames, 4 objects (1, 2, 3, 9)")
    assert len(steps) == NUM_FRAMES - index
    assert_same_files(contents(tmp_path), files)


def count_steps(monkeypatch):
    calls, original = [], TrackingSession.step

    def step(self, *args, **options):
        calls.append(self.frame_index)
        return original(self, *args, **options)

    monkeypatch.setattr(TrackingSession, "step", step)
    return calls


@pytest.fixture(scope="module")
def server():
    """Runs `rmnet track` in processes that are killed."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).parents[1] / "killing_server.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )

    def order(argv, *, folder="", event=None, seconds=None, signal="SIGKILL"):
        order = {"argv": argv, "folder": str(folder), "event": event}
        order |= {"seconds": seconds, "signal": signal}
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        return int(process.stdout.readline())

    yield order
    process.stdin.close()
    process.stdout.close()
    assert process.wait() == 0


def assert_whole(folder, files):
    """Check that every visible file is one that a whole run writes."""
    for path in folder.iterdir():
        if path.name[0] != ".":
            if path.suffix == ".mp4":
                assert_same_video(path.read_bytes(), files[path.name])
            else:
                assert path.read_bytes() == files[path.name], path.name


def killed_then_finished(server, place, output, files, video, **how):
    """Return whether a run was killed; check the files it left, and those of the next run."""
    output.mkdir()
    code = server(command(place, output, "-q", video=video), folder=output, **how)
    assert_whole(output, files)
    if code != 0:
        assert code == -9
        assert server(command(place, output, "-q", video=video)) == 0
    assert_same_files(contents(output), files)
    assert {path.name for path in output.iterdir()} == set(files)
    shutil.rmtree(output)
    return code != 0


def test_a_kill_before_some_file_operation_costs_nothing(server, unbroken, place, tmp_path):
    video, files = unbroken
    seed = random.randrange(10**6)
    print("seed", seed)  # noqa: T201 pytest shows it where the test fails
    event = random.Random(seed).randrange(1, 70)
    killed_then_finished(server, place, tmp_path / "out", files, video, event=event)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_kill_before_any_file_operation_costs_nothing(server, unbroken, place, tmp_path):
    video, files = unbroken
    event = 1
    while killed_then_finished(server, place, tmp_path / "out", files, video, event=event):
        event += 1
    print(f"killed before each of {event - 1} operations")  # noqa: T201 for docs/lab/reliability.md
    assert event > 10 * NUM_FRAMES


@pytest.mark.slow
def test_kills_at_random_times_cost_nothing(server, unbroken, place, tmp_path):
    video, files = unbroken
    seed = random.SystemRandom().randrange(10**6)
    print("seed", seed)  # noqa: T201 pytest shows it where the test fails
    rng = random.Random(seed)
    start = time.monotonic()
    assert server(command(place, tmp_path / "whole", "-q", video=video)) == 0
    took = time.monotonic() - start
    kills = 0
    for number in range(6):
        output = tmp_path / f"out{number}"
        # Again and again, as a machine that is shut down every so often.
        while server(command(place, output, "-q", video=video), seconds=rng.uniform(0, 1.2 * took)):
            kills += 1
            if output.exists():
                assert_whole(output, files)
        assert_same_files(contents(output), files)
    print(f"killed {kills} times")  # noqa: T201 for docs/lab/reliability.md


@pytest.mark.slow
def test_ctrl_c_at_random_times_costs_nothing(server, unbroken, place, tmp_path):
    video, files = unbroken
    seed = random.SystemRandom().randrange(10**6)
    print("seed", seed)  # noqa: T201 pytest shows it where the test fails
    rng = random.Random(seed)
    for number in range(4):
        output = tmp_path / f"out{number}"
        argv = command(place, output, "-q", video=video)
        for _ in range(3):
            server(argv, seconds=rng.uniform(0, 1), signal="SIGINT")
        assert server(argv) == 0
        assert_same_files(contents(output), files)


# --- What does not fit -------------------------------------------------------------------------


@pytest.fixture
def stopped(place, tmp_path, stop, monkeypatch, capsys):
    """A folder in which a run was stopped before frame 3."""
    output = tmp_path / "out"
    stop(3)
    assert main(command(place, output, "-q")) == 130
    monkeypatch.undo()
    capsys.readouterr()
    return output


def assert_refused(capsys, *words):
    error = capsys.readouterr().err
    assert error.startswith("rmnet: error: ")
    assert error.count("\n") == 1
    for word in (*words, "--restart"):
        assert word in error


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--every", "3"), ["--every was 2 and is 3"]),
        (("--flow", "none"), ["--flow was 'tiny' and is 'none'"]),
        (("--regional",), ["--regional was False and is True"]),
        (("--size", "32"), ["--size was None and is 32"]),
        (("--dtype", "bfloat16"), ["dtype was 'torch.float32'"]),
        (("--object-ids", "1"), ["--object-ids was None and is [1]"]),
    ],
)
def test_another_command_is_refused_and_told_how(stopped, place, capsys, options, words):
    before = contents(stopped)
    assert main(command(place, stopped, *options)) == 1
    assert_refused(capsys, *words)
    assert contents(stopped) == before


def test_another_video_weights_or_mask_is_refused(stopped, place, capsys, tmp_path):
    assert main(command(place, stopped, video="clip.mp4")) == 1
    assert_refused(capsys, "VIDEO was", "VIDEO's name, bytes and time was None")
    save_network(tiny.network(seed=1), tmp_path / "others")
    assert main(command(place, stopped, "--weights", str(tmp_path / "others"))) == 1
    assert_refused(capsys, "weights_sha256 was")
    assert main(command(place, stopped, first="late.png")) == 1
    assert_refused(capsys, "mask of frame 0 was")


def test_restart_begins_anew(stopped, place, monkeypatch, capsys):
    steps = count_steps(monkeypatch)
    assert main(command(place, stopped, "--restart", "--flow", "none")) == 0
    assert len(steps) == NUM_FRAMES
    assert "resuming" not in capsys.readouterr().err
    assert not (stopped / FOLDER).exists()


def test_other_outputs_than_masks_may_be_asked_for_later(place, tmp_path, stop, monkeypatch):
    argv = command(place, tmp_path / "out", "-q")
    at = argv.index("--overlay")
    stop(3)
    assert main(argv[:at] + argv[at + 5 :]) == 130
    monkeypatch.undo()
    assert main(argv) == 0
    assert len(list(open_frames(tmp_path / "out" / "o.mp4"))) == NUM_FRAMES
    assert len(json.loads((tmp_path / "out" / "r.json").read_text())) == NUM_FRAMES


def test_a_run_is_resumed_after_a_damaged_image_was_repaired(place, tmp_path, capsys):
    frames, output = tmp_path / "frames", tmp_path / "out"
    shutil.copytree(place / "frames", frames)
    whole = (frames / "f4.jpg").read_bytes()
    (frames / "f4.jpg").write_bytes(whole[:400])
    argv = command(place, output, video=frames)
    assert main(argv) == 1
    assert "f4.jpg" in capsys.readouterr().err
    (frames / "f4.jpg").write_bytes(whole)
    assert main(argv) == 0
    assert "resuming at frame 4" in capsys.readouterr().err
    assert len(list(output.glob("*.png"))) == NUM_FRAMES


def test_an_image_that_changed_after_it_was_tracked_is_refused(
    place, tmp_path, stop, monkeypatch, capsys
):
    frames, output = tmp_path / "frames", tmp_path / "out"
    shutil.copytree(place / "frames", frames)
    stop(3)
    assert main(command(place, output, "-q", video=frames)) == 130
    monkeypatch.undo()
    capsys.readouterr()
    os.utime(frames / "f1.jpg", ns=(0, 0))
    assert main(command(place, output, video=frames)) == 1
    assert_refused(capsys, "frame 1 is lost: its image is not the one that was tracked")


@pytest.mark.parametrize("change", ["other", "gone", "cut"])
def test_a_mask_that_was_changed_is_refused(stopped, place, capsys, change):
    path = stopped / "f1.png"
    if change == "other":
        write_label_png(path, 1 - np.minimum(read_label_png(path), 1))
    elif change == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:50])
    assert main(command(place, stopped, "-q")) == 1
    assert_refused(capsys, "f1.png")


@pytest.mark.parametrize("name", ["run.json", "frames.jsonl", "session.safetensors"])
@pytest.mark.parametrize("content", [b"", b"{}\n" * 9, b"\x00\xff" * 99])
def test_a_damaged_folder_is_refused(stopped, place, capsys, name, content):
    (stopped / FOLDER / name).write_bytes(content)
    assert main(command(place, stopped, "-q")) == 1
    assert_refused(capsys, "cannot be resumed")


def test_a_run_that_saved_nothing_leaves_nothing(place, tmp_path, stop):
    stop(3)
    assert main(command(place, tmp_path, "-q", "--checkpoint", "none")) == 130
    assert not (tmp_path / FOLDER).exists()
    assert len(list(tmp_path.glob("f*.png"))) == 3


def test_saving_takes_a_twentieth_of_the_time_at_most(place, tmp_path, monkeypatch):
    now, saved = [0.0], []

    def save(self, path):
        saved.append(now[0])
        now[0] += 3

    def write(self, result):
        now[0] += 10
        original(self, result)

    original = TrackOutput.write
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(TrackingSession, "save", save)
    monkeypatch.setattr(TrackOutput, "write", write)
    assert main(command(place, tmp_path, "-q", "--checkpoint", "10")) == 0
    assert saved == [10]
    saved.clear()
    now[0] = 0
    assert main(command(place, tmp_path, "-q", "--checkpoint", "0")) == 0
    assert len(saved) == NUM_FRAMES


def test_only_unfinished_files_of_the_run_are_removed(tmp_path):
    mine, others = tmp_path / "o.mp4", tmp_path / "x.json"
    gone = [unfinished_path(mine, suffix=".mp4"), unfinished_path(mine)]
    kept = [mine, others, unfinished_path(others), tmp_path / ".00001.png.0123abcd"]
    for path in gone + kept:
        path.touch()
    remove_unfinished(tmp_path, [mine.name])
    assert sorted(tmp_path.iterdir()) == sorted(kept)
    remove_unfinished(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted({*kept} - {kept[2]})


def test_a_skipped_frame_stays_skipped_in_a_resumed_run(place, tmp_path, stop, capsys, monkeypatch):
    frames = shutil.copytree(place / "frames", tmp_path / "frames")
    for bad in (2, 4):
        (frames / f"f{bad}.jpg").write_bytes(b"no image")

    def track(output, *options):
        return main(command(place, tmp_path / output, *options, video=frames))

    skip = ("--on-bad-frame", "skip")
    assert track("whole", *skip) == 0
    with monkeypatch.context():
        stop(5)
        assert track("parts", *skip) == 130
    monkeypatch.undo()
    capsys.readouterr()
    assert track("parts", *skip) == 0
    assert "skipped as unreadable in frames 2, 4" in capsys.readouterr().out
    assert track("later") == 1  # at the first bad frame
    assert track("later", *skip) == 0
    whole = contents(tmp_path / "whole")
    for output in ("parts", "later"):
        assert_same_files(contents(tmp_path / output), whole)
