import json
import os
import pickle
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rmnet.errors import ConfigError, FrameError, MissingDependencyError, VideoError
from rmnet.io.frame_source import FrameSource, open_frames
from rmnet.io.video_writer import VideoWriter

av = pytest.importorskip("av")

RANDOM = np.random.default_rng(0)
FRAMES = RANDOM.integers(0, 256, (3, 6, 8, 3), dtype=np.uint8)


def corners(height=48, width=64, step=0):
    """Four colours, one a corner, so that every turn and flip can be told."""
    frame = np.zeros((height, width, 3), np.uint8)
    frame[: height // 2, : width // 2] = (250, 0, step)
    frame[: height // 2, width // 2 :] = (0, 250, step)
    frame[height // 2 :, : width // 2] = (step, 0, 250)
    frame[height // 2 :, width // 2 :] = (200, 200, step)
    return frame


def encode(path, frames, *, ticks=None, codec="libx264", pixels="yuv444p", turn=None, **options):
    """A video by PyAV alone, of frames at given times of 1/60000 s."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(
            codec, rate=24, options={"crf": "1"} if "264" in codec else {}
        )
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        if ticks is not None:
            stream.codec_context.time_base = Fraction(1, 60000)
        if turn is not None:
            degrees, is_flipped = turn
            stream.set_display_rotation(degrees, hflip=is_flipped)
        for number, pixel_values in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixel_values, format="rgb24")
            if ticks is not None:
                frame.pts, frame.time_base = ticks[number], Fraction(1, 60000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def save_images(folder, names):
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        Image.new("RGB", (8, 6), (20 * number,) * 3).save(folder / name)
    return folder


def order_of(source):
    """The numbers that `save_images` painted."""
    return [round(frame[0, 0, 0] / 20) for frame in source]


# --- frames in memory --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        FRAMES,
        list(FRAMES),
        tuple(Image.fromarray(frame) for frame in FRAMES),
        torch.from_numpy(FRAMES).permute(0, 3, 1, 2),
        [torch.from_numpy(frame).permute(2, 0, 1) for frame in FRAMES],
    ],
)
def test_frames_in_memory_come_in_order_as_often_as_asked(source):
    opened = open_frames(source)
    assert (opened.num_frames, opened.names, opened.frames_per_second) == (3, None, None)
    assert opened.reiterable
    for _ in range(2):
        np.testing.assert_array_equal(np.stack(list(opened)), FRAMES)
    assert [seconds for _, seconds in opened.attempted()] == [None] * 3


def test_generator_is_consumed_lazily_and_known_to_run_once():
    taken = []

    def generate():
        for number, frame in enumerate(FRAMES):
            taken.append(number)
            yield frame

    opened = open_frames(generate())
    assert not opened.reiterable
    assert (opened.num_frames, taken) == (None, [])
    frames = iter(opened)
    np.testing.assert_array_equal(next(frames), FRAMES[0])
    assert taken == [0]
    assert len(list(frames)) == 2
    with pytest.raises(VideoError, match="no frames; an iterator gives its frames only once"):
        list(opened)


def test_source_given_again_is_itself():
    opened = open_frames(FRAMES)
    assert open_frames(opened) is opened


def test_source_of_what_can_be_pickled_can_be_pickled(tmp_path):
    folder = save_images(tmp_path, ["0.png", "1.png"])
    for source in (FRAMES, folder):
        opened = open_frames(source)
        again = pickle.loads(pickle.dumps(opened))
        np.testing.assert_array_equal(np.stack([*again]), np.stack([*opened]))
        assert (again.names, again.paths) == (opened.names, opened.paths)


def test_frame_that_is_none_is_named_by_its_number():
    with pytest.raises(FrameError, match="frame 1 is an array of float64"):
        list(open_frames([FRAMES[0], FRAMES[1] / 255]))


@pytest.mark.parametrize("source", [FRAMES[0], torch.from_numpy(FRAMES[0]), FRAMES[0, 0]])
def test_single_array_is_refused_with_the_line_to_write(source):
    with pytest.raises(FrameError, match=r"one array of shape .*accepted.*Write \[frame\]"):
        open_frames(source)


@pytest.mark.parametrize("source", [3.14, True, -1, None, Image.new("RGB", (8, 6)), object()])
def test_what_has_no_frames_is_refused(source):
    with pytest.raises(FrameError, match=r"the frames are a \w+; accepted: a video file"):
        open_frames(source)


@pytest.mark.parametrize("source", [[], FRAMES[:0]])
def test_no_frames_are_an_error_and_not_an_empty_video(source):
    with pytest.raises(VideoError, match="no frames; accepted: at least one"):
        list(open_frames(source))


# --- image files -------------------------------------------------------------------------------


def test_folder_is_read_in_natural_order_with_names(tmp_path):
    names = ["f1.png", "f2.jpg", "f10.PNG", "f011.bmp", "f100.webp"]
    folder = save_images(tmp_path / "clip", names)
    (folder / ".f3.png").write_bytes(b"hidden")
    (folder / "notes.txt").write_text("no image")
    for path in (folder, str(folder)):
        opened = open_frames(path)
        assert opened.names == ["f1", "f2", "f10", "f011", "f100"]
        assert (opened.num_frames, opened.frames_per_second) == (5, None)
        assert order_of(opened) == order_of(opened) == [0, 1, 2, 3, 4]


def test_glob_is_read_in_natural_order(tmp_path):
    save_images(tmp_path / "b", ["9.png", "10.png"])
    save_images(tmp_path / "a", ["9.png", "9.jpg"])
    opened = open_frames(str(tmp_path / "?" / "*.png"))
    assert order_of(opened) == [0, 0, 1]
    assert opened.names is None  # two are called 9
    assert open_frames(str(tmp_path / "**" / "1*.png")).names == ["10"]


def test_folder_whose_name_looks_like_a_glob_is_a_folder(tmp_path):
    assert order_of(open_frames(str(save_images(tmp_path / "a[1]", ["0.png"])))) == [0]


def test_paths_are_read_in_the_order_given(tmp_path):
    folder = save_images(tmp_path, ["a.png", "b.png", "c.png"])
    opened = open_frames([folder / "c.png", str(folder / "a.png")])
    assert order_of(opened) == [2, 0]
    assert opened.names == ["c", "a"]


def test_single_image_is_a_video_of_one_frame(tmp_path):
    save_images(tmp_path, ["a.png"])
    assert order_of(open_frames(tmp_path / "a.png")) == [0]


def test_grey_and_palette_files_are_read_as_rgb(tmp_path):
    grey = FRAMES[0, ..., 0]
    Image.fromarray(grey).save(tmp_path / "0.png")
    Image.fromarray(FRAMES[1]).quantize(64).save(tmp_path / "1.png")
    first, second = open_frames(tmp_path)
    np.testing.assert_array_equal(first, np.stack([grey] * 3, axis=-1))
    assert second.shape == (6, 8, 3)


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (3, lambda upright: upright[::-1, ::-1]),
        (6, lambda upright: np.rot90(upright, -1)),  # "turn clockwise to see it upright"
        (8, lambda upright: np.rot90(upright, 1)),
    ],
)
def test_images_are_turned_by_their_exif_orientation(tmp_path, orientation, expected):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(FRAMES[0]).save(tmp_path / "0.png", exif=exif)
    np.testing.assert_array_equal(next(iter(open_frames(tmp_path))), expected(FRAMES[0]))


def test_damaged_image_is_named_with_its_number(tmp_path):
    folder = save_images(tmp_path, ["0.png", "1.png", "2.png"])
    whole = (folder / "1.png").read_bytes()
    for content in (b"no image", whole[:40]):
        (folder / "1.png").write_bytes(content)
        frames = iter(open_frames(folder))
        next(frames)
        with pytest.raises(VideoError, match=r"frame 1, '.*1.png', cannot be read: .*accepted"):
            next(frames)


def test_missing_image_of_a_list_is_named(tmp_path):
    with pytest.raises(VideoError, match=r"frame 0, '.*gone.png', does not exist; accepted"):
        list(open_frames([tmp_path / "gone.png"]))


def test_16_bit_image_is_refused_rather_than_clipped(tmp_path):
    Image.fromarray(np.full((6, 8), 3000, np.uint16)).save(tmp_path / "0.png")
    with pytest.raises(FrameError, match="frame 0 is a PIL image of mode 'I;16'"):
        list(open_frames(tmp_path))


@pytest.mark.parametrize("content", [None, "notes.txt", ".hidden.png"])
def test_folder_without_images_is_refused(tmp_path, content):
    if content:
        (tmp_path / content).write_text("no image")
    with pytest.raises(VideoError, match=r"holds no images; accepted: .bmp, .jpeg"):
        open_frames(tmp_path)


def test_folder_with_frames_and_masks_of_one_name_is_refused(tmp_path):
    save_images(tmp_path, ["0.jpg", "0.png", "1.jpg", "1.png"])
    with pytest.raises(VideoError, match=r"holds both 0.jpg and 0.png; .*Write '.*\*.jpg'"):
        open_frames(tmp_path)


@pytest.mark.parametrize("path", ["gone", "gone.mp4", Path("gone"), "no://stream"])
def test_missing_path_is_refused(path):
    with pytest.raises(VideoError, match=r"there is no file or folder '.*'; accepted: a video"):
        open_frames(path)


def test_glob_without_match_is_refused(tmp_path):
    with pytest.raises(VideoError, match=r"no file matches '.*\*.png'"):
        open_frames(str(tmp_path / "*.png"))


# --- video files -------------------------------------------------------------------------------


def test_video_gives_its_frames_and_times_as_often_as_asked(tmp_path):
    frames = [corners(step=20 * number) for number in range(6)]
    opened = open_frames(encode(tmp_path / "v.mp4", frames))
    assert isinstance(opened, FrameSource)
    assert (opened.num_frames, opened.frames_per_second, opened.names) == (6, 24, None)
    assert opened.reiterable
    for _ in range(2):
        decoded = list(opened)
        assert decoded[0].dtype == np.uint8
        assert np.abs(np.stack(decoded).astype(int) - np.stack(frames)).max() < 12
    times = [seconds for _, seconds in opened.attempted()]
    np.testing.assert_allclose(times, np.arange(6) / 24, atol=1e-4)


@pytest.mark.parametrize("turn", [(0, False), (90, False), (180, False), (-90, False), (90, True)])
def test_video_is_turned_as_players_show_it(tmp_path, turn):
    degrees, is_flipped = turn
    upright = corners()
    stored = np.rot90(upright, -degrees // 90)  # the matrix turns back, counter-clockwise
    if not hasattr(av.video.stream.VideoStream, "set_display_rotation"):
        pytest.skip("PyAV before 18 writes no display matrix")
    if is_flipped:
        stored = np.rot90(upright[:, ::-1], -degrees // 90)
    stored = np.ascontiguousarray(stored)
    for frame in open_frames(encode(tmp_path / "v.mp4", [stored] * 2, turn=turn)):
        assert frame.shape == upright.shape
        assert frame.flags.c_contiguous
        assert np.abs(frame.astype(int) - upright).max() < 12


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_times_of_a_variable_rate_are_those_of_the_frames(tmp_path, suffix):
    ticks = [600, 1200, 6000, 6600, 36000]
    path = encode(tmp_path / f"v{suffix}", [corners()] * 5, ticks=ticks)
    times = [seconds for _, seconds in open_frames(path).attempted()]
    np.testing.assert_allclose(times, [0, 0.01, 0.09, 0.1, 0.59], atol=1.1e-3)  # mkv counts in ms


def test_times_come_from_the_rate_where_the_file_has_none(tmp_path):
    path = encode(tmp_path / "v.h264", [corners()] * 4)  # a bare stream, without a container
    times = [seconds for _, seconds in open_frames(path).attempted()]
    rate = open_frames(path).frames_per_second
    np.testing.assert_allclose(times, np.arange(4) / rate, atol=1e-3)


def test_10_bit_and_grey_videos_become_8_bit_rgb(tmp_path):
    grey = np.full((48, 64, 3), 90, np.uint8)
    for pixels in ("yuv420p10le", "gray"):
        (frame, *_) = open_frames(encode(tmp_path / f"{pixels}.mkv", [grey] * 2, pixels=pixels))
        assert (frame.shape, frame.dtype) == ((48, 64, 3), np.uint8)
        assert np.abs(frame.astype(int) - 90).max() < 6  # the encoder's and the decoder's rounding


def test_video_left_early_is_closed(tmp_path, monkeypatch):
    path = encode(tmp_path / "v.mp4", [corners()] * 4)
    opened, containers, really_open = open_frames(path), [], av.open
    monkeypatch.setattr(
        av, "open", lambda *a, **o: containers.append(really_open(*a, **o)) or containers[-1]
    )
    frames = iter(opened)
    next(frames)
    frames.close()
    with pytest.raises(AssertionError, match="Container is not open"):
        containers[0].decode(video=0).__next__()


def test_file_that_is_no_video_is_refused(tmp_path):
    (tmp_path / "v.mp4").write_text("hello")
    with pytest.raises(VideoError, match=r"v.mp4' cannot be read as a video: Invalid data.*accep"):
        open_frames(tmp_path / "v.mp4")


def test_sound_without_pictures_is_refused(tmp_path):
    with av.open(str(tmp_path / "a.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(VideoError, match="no video stream; accepted"):
        open_frames(tmp_path / "a.wav")


def test_video_without_frames_is_refused(tmp_path):
    whole = encode(tmp_path / "v.mkv", list(RANDOM.integers(0, 256, (9, 64, 64, 3), np.uint8)))
    content = whole.read_bytes()
    (tmp_path / "cut.mkv").write_bytes(content[:2000])  # the head, and part of the first frame
    with pytest.raises(VideoError, match="no frames; accepted: at least one"):
        list(open_frames(tmp_path / "cut.mkv"))


def test_damage_in_the_middle_names_the_frame(tmp_path):
    frames = list(RANDOM.integers(0, 256, (6, 64, 64, 3), np.uint8))
    path = encode(tmp_path / "v.mp4", frames, codec="mjpeg", pixels="yuvj444p")
    content = bytearray(path.read_bytes())
    starts = [i for i in range(len(content) - 2) if content[i : i + 3] == b"\xff\xd8\xff"]
    content[starts[3] : starts[4]] = bytes(starts[4] - starts[3])
    path.write_bytes(content)
    reader = iter(open_frames(path))
    for _ in range(3):
        next(reader)
    with pytest.raises(VideoError, match=r"frame 3 of '.*v.mp4' cannot be decoded: .*accepted"):
        next(reader)


# --- writing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_written_video_is_read_back(tmp_path, suffix):
    path = tmp_path / f"v{suffix}"
    with VideoWriter(path, frames_per_second=25) as writer:
        for number in range(5):
            writer.write(corners(step=20 * number))
    assert os.listdir(tmp_path) == [path.name]  # noqa: PTH208 hidden files too
    opened = open_frames(path)
    assert opened.frames_per_second == pytest.approx(25, rel=0.01)
    decoded = list(opened.attempted())
    np.testing.assert_allclose([seconds for _, seconds in decoded], np.arange(5) / 25, atol=1.1e-3)
    for number, (frame, _) in enumerate(decoded):
        error = np.abs(frame.astype(int) - corners(step=20 * number))
        assert np.median(error) <= 3  # yuv420p smears the borders of colours only


@settings(deadline=None, max_examples=6)
@given(st.integers(1, 35), st.integers(1, 35))
def test_odd_sizes_are_padded_by_repeating_the_edge(tmp_path_factory, height, width):
    path = tmp_path_factory.mktemp("odd") / "v.mp4"
    frame = np.full((height, width, 3), 60, np.uint8)
    frame[-1:], frame[:, -1:] = 200, 200
    with VideoWriter(path) as writer:
        writer.write(frame)
    (decoded,) = open_frames(path)
    assert decoded.shape == (height + height % 2, width + width % 2, 3)
    assert np.abs(decoded[-1].astype(int) - 200).max() < 30
    assert np.abs(decoded[:, -1].astype(int) - 200).max() < 30


def test_written_times_are_kept_from_the_first_on(tmp_path):
    times = [3.5, 3.51, 3.7, 5.0]
    with VideoWriter(tmp_path / "v.mp4") as writer:
        for seconds in times:
            writer.write(corners(), seconds)
    read = [seconds for _, seconds in open_frames(tmp_path / "v.mp4").attempted()]
    np.testing.assert_allclose(read, np.array(times) - 3.5, atol=1e-4)


def test_times_that_do_not_increase_are_moved_behind_the_last(tmp_path):
    with VideoWriter(tmp_path / "v.mp4", frames_per_second=10) as writer:
        for seconds in (1.0, 1.5, 1.5, 0.2, None):
            writer.write(corners(), seconds)
    read = [seconds for _, seconds in open_frames(tmp_path / "v.mp4").attempted()]
    np.testing.assert_allclose(read, [0, 0.5, 0.5, 0.5, 0.6], atol=1e-4)
    assert (np.diff(read) > 0).all()


def test_rates_that_are_no_whole_ticks_do_not_drift(tmp_path):
    with VideoWriter(tmp_path / "v.mp4", frames_per_second=24000 / 1001) as writer:
        for _ in range(200):
            writer.write(np.zeros((2, 2, 3), np.uint8))
    *_, (_, last) = open_frames(tmp_path / "v.mp4").attempted()
    assert last == pytest.approx(199 * 1001 / 24000, abs=2e-5)


def write_all(path, frames, times=None):
    with VideoWriter(path) as writer:
        for frame, seconds in zip(frames, times or [None] * len(frames), strict=True):
            writer.write(frame, seconds)


def test_error_inside_the_context_leaves_the_old_file_and_nothing_else(tmp_path):
    (tmp_path / "v.mp4").write_bytes(b"old")
    with pytest.raises(FrameError, match=r"frame 2 is a NoneType"):
        write_all(tmp_path / "v.mp4", [corners(), corners(), None])
    assert (tmp_path / "v.mp4").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["v.mp4"]  # noqa: PTH208 hidden files too


def test_no_frame_written_is_an_error(tmp_path):
    with pytest.raises(VideoError, match="no frame was written"), VideoWriter(tmp_path / "v.mp4"):
        pass
    assert not list(tmp_path.iterdir())


def test_frames_of_two_sizes_are_refused(tmp_path):
    with pytest.raises(FrameError, match=r"frame 1 is 48 by 66 after frames of 48 by 64.*resize"):
        write_all(tmp_path / "v.mp4", [corners(), corners(width=66)])
    assert not list(tmp_path.iterdir())


def test_frame_that_is_none_is_refused_by_number(tmp_path):
    with pytest.raises(FrameError, match="frame 0 is an array of float64"):
        write_all(tmp_path / "v.mp4", [corners() / 255])


def test_writing_outside_of_the_context_is_refused(tmp_path):
    with pytest.raises(VideoError, match=r"outside of the context; accepted: inside. Write: with"):
        VideoWriter(tmp_path / "v.mp4").write(corners())


@pytest.mark.parametrize("name", ["v.avi", "v", "v.webm", "v.gif"])
def test_other_kinds_of_file_are_refused(tmp_path, name):
    with pytest.raises(
        VideoError, match=r"no kind of video to write; accepted: .mp4.*Write '.*v.mp4"
    ):
        VideoWriter(tmp_path / name)


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(VideoError, match=r"no folder '.*gone'.*mkdir"):
        VideoWriter(tmp_path / "gone" / "v.mp4")


def test_target_that_is_a_folder_is_refused(tmp_path):
    (tmp_path / "v.mp4").mkdir()
    with pytest.raises(VideoError, match=r"v.mp4' cannot be written: Is a directory"):
        write_all(tmp_path / "v.mp4", [corners()])
    assert os.listdir(tmp_path) == ["v.mp4"]  # noqa: PTH208 hidden files too


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf")])
def test_rate_that_is_none_is_refused(tmp_path, rate):
    with pytest.raises(ConfigError, match=r"frames_per_second is .*; accepted: 0.001 to 60000"):
        VideoWriter(tmp_path / "v.mp4", frames_per_second=rate)


@pytest.mark.parametrize("seconds", [float("nan"), float("inf")])
def test_time_that_is_none_is_refused(tmp_path, seconds):
    with pytest.raises(ConfigError, match=r"seconds is .*; accepted: a finite number, or None"):
        write_all(tmp_path / "v.mp4", [corners()], [seconds])


def test_pyav_without_libx264_is_refused_with_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr("av.codec.codecs_available", {"mpeg4"})
    with pytest.raises(MissingDependencyError, match=r"libx264, which this PyAV lacks; .*pip inst"):
        VideoWriter(tmp_path / "v.mp4")


# --- packages ----------------------------------------------------------------------------------


def test_missing_pyav_is_said_with_the_command(tmp_path, monkeypatch):
    path = encode(tmp_path / "v.mp4", [corners()])
    for name in [name for name in sys.modules if name.split(".")[0] == "av"]:
        monkeypatch.setitem(sys.modules, name, None)
    for call in (open_frames, VideoWriter):
        with pytest.raises(MissingDependencyError, match=r"PyAV.*pip install 'rmnet\[video\]'"):
            call(path)
    assert order_of(open_frames(save_images(tmp_path / "clip", ["0.png"]))) == [0]


def test_importing_loads_no_optional_package():
    program = (
        "import json, sys, rmnet.io.draw, rmnet.io.frames, rmnet.io.masks, rmnet.export, rmnet.io.frame_source, "
        "rmnet.io.video_writer; print(json.dumps(sorted(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    printed = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, check=True
    ).stdout
    loaded = {name.split(".")[0] for name in json.loads(printed)}
    assert "rmnet" in loaded
    assert not loaded & {"av", "pycocotools", "matplotlib", "torchvision", "cv2"}
