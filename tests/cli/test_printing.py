"""Printing never fails finished work, whatever the terminal and the names of files are."""

import io
import json
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

import tiny
from rmnet.cli import main
from rmnet.demo import make_clip
from rmnet.io import VideoWriter, read_label_png, write_label_png
from rmnet.weights import save_network

NUM_FRAMES = 3
CYRILLIC = "видео"
NOT_UTF8 = os.fsdecode(b"clip \xe9\xff")  # a Latin-1 name: Python holds its bytes as surrogates
NAMES = pytest.mark.parametrize("name", [CYRILLIC, NOT_UTF8], ids=["cyrillic", "not UTF-8"])
TERMINALS = pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_network(tiny.network(), tmp_path_factory.mktemp("weights"))


@pytest.fixture
def clip(tmp_path):
    """Return a function that makes a clip NAME/frames, NAME/clip.mp4, NAME/first.png."""

    def make(name):
        made = make_clip(num_frames=NUM_FRAMES, size=(48, 80))
        folder = tmp_path / name
        try:
            (folder / "frames").mkdir(parents=True)
        except OSError:
            pytest.skip("this file system has no such names")
        for index, frame in enumerate(made.frames):
            Image.fromarray(frame).save(folder / "frames" / f"{index:05d}.jpg")
        write_label_png(folder / "first.png", made.labels[0])
        return folder

    return make


@pytest.fixture
def call(monkeypatch):
    """Run the command on a terminal of some encoding: exit code, stdout, stderr."""

    def run(encoding, *argv):
        streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", streams[0])
            patch.setattr(sys, "stderr", streams[1])
            code = main([str(argument) for argument in argv])
        for stream in streams:
            stream.flush()
        return (code, *(stream.buffer.getvalue().decode(encoding) for stream in streams))

    return run


def shown(name, encoding):
    return name.encode(encoding, "backslashreplace").decode(encoding)


@NAMES
@TERMINALS
def test_track_prints_where_the_masks_are(name, encoding, clip, call, weights):
    folder = clip(name)
    masks = folder / "masks"
    options = ("-o", masks, "--weights", weights, "--device", "cpu", "--progress")
    outputs = ("--rle", folder / "masks.json")
    code, output, error = call(
        encoding, "track", folder / "frames", folder / "first.png", *options, *outputs
    )
    assert code == 0, error
    assert f"masks in {shown(str(masks), encoding)}" in output
    assert len(list(masks.glob("*.png"))) == NUM_FRAMES
    assert len(json.loads((folder / "masks.json").read_text(encoding="utf-8"))) == NUM_FRAMES


@NAMES
def test_track_reads_and_writes_videos_and_resumes_in_such_folders(
    name, clip, call, weights, monkeypatch
):
    pytest.importorskip("av")
    folder = clip(name)
    made = make_clip(num_frames=NUM_FRAMES, size=(48, 80))
    with VideoWriter(folder / f"{name}.mp4", frames_per_second=25) as writer:
        for frame in made.frames:
            writer.write(frame)
    options = ("-o", folder / "masks", "--weights", weights, "--device", "cpu")
    outputs = ("--overlay", folder / "overlay.mp4", "--checkpoint", "0")
    command = ("track", folder / f"{name}.mp4", folder / "first.png", *options, *outputs)

    def stop(self, result):
        if result.index == 2:
            raise KeyboardInterrupt
        original(self, result)

    from rmnet.cli.track_output import TrackOutput

    original = TrackOutput.write
    with monkeypatch.context() as patch:
        patch.setattr(TrackOutput, "write", stop)
        assert call("cp1252", *command)[0] == 130
    code, output, error = call("cp1252", *command)
    assert code == 0, error
    assert "resuming at frame 2" in error
    assert shown(str(folder / "overlay.mp4"), "cp1252") in output
    assert (folder / "overlay.mp4").stat().st_size > 0


@NAMES
@TERMINALS
def test_eval_prints_a_line_for_each_clip(name, encoding, tmp_path, call):
    labels = np.zeros((24, 32), np.uint8)
    labels[4:12, 4:20] = 1
    for root in ("truth", "predictions"):
        try:
            (tmp_path / root / name).mkdir(parents=True)
        except OSError:
            pytest.skip("this file system has no such names")
        for index in range(NUM_FRAMES):
            write_label_png(tmp_path / root / name / f"{index:05d}.png", labels)
    folders = (tmp_path / "predictions", tmp_path / "truth")
    code, output, error = call(encoding, "eval", "folder", *folders, "-o", tmp_path / "scores")
    assert code == 0, error
    line = next(line for line in output.splitlines() if line.startswith(shown(name, encoding)))
    assert "1.000" in line
    record = json.loads((tmp_path / "scores" / "results.json").read_text(encoding="utf-8"))
    assert [one["clip"] for one in record["clips"]] == [name]


@TERMINALS
def test_errors_and_warnings_are_printed_on_any_terminal(encoding, call, tmp_path, monkeypatch):
    code, _, error = call(encoding, "track", tmp_path / CYRILLIC, "mask.png", "-o", tmp_path / "o")
    assert code == 1
    assert shown(CYRILLIC, encoding) in error

    def run(args):
        warnings.warn(f"the folder {CYRILLIC} is odd", stacklevel=1)
        return 0

    monkeypatch.setattr("rmnet.cli.info.run", run)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        code, _, error = call(encoding, "info")
    assert (code, error) == (0, f"rmnet: warning: the folder {shown(CYRILLIC, encoding)} is odd\n")


@NAMES
def test_python_m_rmnet_runs_the_command_on_a_terminal_without_the_letters(name, clip, weights):
    folder = clip(name)
    command = [sys.executable, "-m", "rmnet", "track"]
    command += [folder / "frames", folder / "first.png", "-o", folder / "masks"]
    command += ["--weights", weights, "--device", "cpu"]
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert shown(str(folder / "masks"), "cp1252").encode("cp1252") in done.stdout
    assert read_label_png(folder / "masks" / "00002.png").shape == (48, 80)
