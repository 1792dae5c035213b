"""`rmnet track`: which frame a mask is for, the rate of images, cameras and streams."""

import json

import numpy as np
import pytest
from PIL import Image

import rmnet.io
import tiny
from rmnet.cli import main
from rmnet.io import FrameSource, VideoWriter, open_frames, read_label_png, write_label_png
from rmnet.weights import save_network

FRAMES, LABELS = tiny.clip(5)
LABELS = LABELS.astype(np.uint8)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_network(tiny.network(), tmp_path_factory.mktemp("weights"))


@pytest.fixture
def place(tmp_path):
    """y5/*.jpg and clip.mp4, and the masks 00003.png, 00000.png, first.png, late.png."""
    (tmp_path / "y5").mkdir()
    for index, frame in enumerate(FRAMES):
        Image.fromarray(frame).save(tmp_path / "y5" / f"{index:05d}.jpg")
    for name in ("00003", "00000", "first"):
        write_label_png(tmp_path / f"{name}.png", LABELS)
    write_label_png(tmp_path / "late.png", np.where(LABELS, 9, 0))
    return tmp_path


@pytest.fixture
def track(place, weights, capsys, monkeypatch):
    """Run `rmnet track` inside of `place`: exit code, stdout, stderr, masks by frame number."""
    monkeypatch.chdir(place)

    def run(*argv):
        options = ("-o", "masks", "--weights", str(weights), "--device", "cpu")
        code = main(["track", *map(str, argv), *options])
        masks = [read_label_png(path) for path in sorted((place / "masks").glob("*.png"))]
        return (code, *capsys.readouterr(), masks)

    return run


def first_labelled(masks):
    return next(index for index, labels in enumerate(masks) if labels.any())


def test_a_mask_named_like_a_frame_is_for_that_frame_and_this_is_told(track):
    code, _, error, masks = track("y5", "00003.png")
    assert code == 0
    assert error == (
        "rmnet: 00003.png is named like frame 3, and taken for its mask; 0:00003.png for the first "
        "frame\n"
    )
    assert first_labelled(masks) == 3
    assert np.array_equal(masks[3], LABELS)


@pytest.mark.parametrize(("mask", "frame"), [("0:00003.png", 0), ("2:00003.png", 2)])
def test_a_frame_that_is_said_is_taken(track, mask, frame):
    code, _, error, masks = track("y5", mask)
    assert (code, error, first_labelled(masks)) == (0, "", frame)


@pytest.mark.parametrize("mask", ["00000.png", "first.png"])
def test_the_mask_of_the_first_frame_is_taken_silently(track, mask):
    code, _, error, masks = track("y5", mask)
    assert (code, error, first_labelled(masks)) == (0, "", 0)


def test_a_further_mask_named_like_a_frame_is_for_that_frame(track, place):
    (place / "late.png").rename(place / "00002.png")
    code, _, error, masks = track("y5", "first.png", "--mask", "00002.png")
    assert code == 0
    assert "is named like frame 2" in error
    assert [bool((labels == 9).any()) for labels in masks][:3] == [False, False, True]


def test_quiet_leaves_the_note_out(track):
    code, output, error, masks = track("y5", "00003.png", "--quiet")
    assert (code, output, error, first_labelled(masks)) == (0, "", "", 3)


def test_a_mask_named_like_a_frame_of_a_video_needs_its_frame(track, place):
    pytest.importorskip("av")
    with VideoWriter(place / "clip.mp4", frames_per_second=25) as writer:
        for frame in FRAMES:
            writer.write(frame)
    code, _, error, _ = track("clip.mp4", "00003.png")
    assert code == 1
    assert "named like frame 3 of a video" in error
    assert "Write 3:00003.png, or 0:00003.png for the first frame" in error
    for mask, frame in (("3:00003.png", 3), ("0:00003.png", 0), ("00000.png", 0)):
        code, _, error, masks = track("clip.mp4", mask)
        assert (code, error, first_labelled(masks)) == (0, "", frame)


def test_a_mask_among_the_frames_is_refused(track, place):
    (place / "first.png").rename(place / "y5" / "mask.png")
    code, _, error, masks = track("y5", "y5/mask.png")
    assert (code, masks) == (1, [])
    assert "the mask 'y5/mask.png' is also one of the frames" in error
    assert "Write 'y5/*.jpg' for the frames" in error
    code, _, error, masks = track("y5/*.jpg", "y5/mask.png")
    assert (code, error, len(masks)) == (0, "", len(FRAMES))


def test_fps_is_the_rate_of_the_overlay_and_of_the_run_lengths(track, place):
    pytest.importorskip("av")
    outputs = ("--overlay", "overlay.mp4", "--rle", "masks.json")
    assert track("y5", "first.png", "--fps", "12.5", *outputs)[0] == 0
    assert open_frames("overlay.mp4").frames_per_second == pytest.approx(12.5)
    rows = json.loads((place / "masks.json").read_text())
    assert [row["seconds"] for row in rows] == pytest.approx([i / 12.5 for i in range(len(rows))])


@pytest.mark.parametrize("rate", ["0", "-3", "fast", "nan"])
def test_fps_must_be_a_rate(track, rate):
    with pytest.raises(SystemExit) as stop:
        track("y5", "first.png", "--fps", rate)
    assert stop.value.code == 2


@pytest.mark.parametrize(
    ("video", "opened"),
    [("0", 0), ("12", 12), ("rtsp://host/stream", "rtsp://host/stream"), ("y5", "y5")],
)
def test_a_camera_or_a_stream_is_opened_and_never_saved(video, opened, track, place, monkeypatch):
    """Frames that come only once: nothing can be resumed, and nothing is said of it."""
    seen = []

    def opens(source, **_):
        seen.append(source)
        return FrameSource(open_frames(iter(FRAMES)).read, reiterable=False)

    monkeypatch.setattr(rmnet.io, "open_frames", opens)

    def stop(self, result):
        if result.index == 2:
            raise KeyboardInterrupt
        original(self, result)

    from rmnet.cli.track_output import TrackOutput

    original = TrackOutput.write
    monkeypatch.setattr(TrackOutput, "write", stop)
    code, output, error, masks = track(video, "first.png", "--checkpoint", "0")
    assert (code, error, len(masks)) == (130, "rmnet: interrupted\n", 2)
    assert output.startswith("stopped after 2 frames")
    assert "resumes" not in output
    assert not (place / "masks" / ".rmnet-track").exists()
    assert seen == [opened]


def test_a_file_named_by_digits_is_no_camera(track, place):
    (place / "y5").rename(place / "7")
    code, _, _, masks = track("7", "first.png")
    assert (code, len(masks)) == (0, len(FRAMES))


def test_ids_are_named_as_the_option_is_typed(track, place):
    code, _, error, _ = track("y5", "first.png", "--object-ids", "4,5")
    assert code == 1
    assert "has no pixels of --object-ids 4,5; accepted: ids that are in it" in error
    assert "object_ids" not in error
