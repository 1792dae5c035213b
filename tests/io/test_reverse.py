"""Reading a video backward gives the frames of reading it forward, a few at a time."""

import gc
import weakref
from contextlib import closing
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from rmnet.errors import ConfigError, VideoError
from rmnet.io.frame_source import FrameSource, open_frames
from rmnet.io.reverse import CHUNK, BackwardFrames

LENGTH = 3 * CHUNK + 5


def moving(length=LENGTH, size=(48, 62)):
    """Frames that all differ, and compress well enough to be predicted from each other."""
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (size[0] // 8, size[1] // 8 + length, 3), dtype=np.uint8)
    picture = picture.repeat(8, axis=0).repeat(8, axis=1)
    return [picture[:, 3 * t : 3 * t + size[1]].copy() for t in range(length)]


def encode(path, *, codec="libx264", ticks=None, container=None, pixels="yuv420p", **options):
    """A video by PyAV alone; `ticks` are times of its frames in 1/60000 s."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w", options=container or {}) as file:
        stream = file.add_stream(codec, rate=24, options=options)
        stream.height, stream.width, stream.pix_fmt = 48, 62, pixels  # rows that FFmpeg pads
        if ticks is not None:
            stream.codec_context.time_base = Fraction(1, 60000)
        for number, array in enumerate(moving()):
            frame = av.VideoFrame.from_ndarray(array, format="rgb24")
            if ticks is not None:
                frame.pts, frame.time_base = ticks[number], Fraction(1, 60000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


UNEVEN = [int(t * 2500 + 700 * (t % 3)) for t in range(LENGTH)]
LATE = [90_000 + 2500 * t for t in range(LENGTH)]
B_FRAMES = {"bf": "3", "g": "40", "sc_threshold": "0"}
FORMATS = {
    "h264 with B-frames": ("a.mp4", B_FRAMES),
    "h264, one key frame": ("a.mp4", {"bf": "2", "g": "1000", "sc_threshold": "0"}),
    "h264, open groups": ("a.mkv", {**B_FRAMES, "x264-params": "open-gop=1:keyint=24:bframes=3"}),
    "h264, intra refresh": ("a.mkv", {"x264-params": "intra-refresh=1:keyint=24"}),
    "h264, first time not 0": ("a.mp4", {**B_FRAMES, "ticks": LATE}),
    "h264, variable rate": ("a.mp4", {**B_FRAMES, "ticks": UNEVEN}),
    "h264, an edit list": ("a.mov", {**B_FRAMES, "container": {"use_editlist": "1"}}),
    "h264, negative times": ("a.mkv", {**B_FRAMES, "container": {"avoid_negative_ts": "disabled"}}),
    "h264 in MPEG-TS": ("a.ts", B_FRAMES),
    "mpeg4 in AVI": ("a.avi", {"codec": "mpeg4", "g": "20"}),
    "mpeg4 with B-frames": ("a.mp4", {"codec": "mpeg4", "bf": "2", "g": "20"}),
    "vp9": ("a.webm", {"codec": "libvpx-vp9", "g": "30", "auto-alt-ref": "1", "lag-in-frames": "16"}),
    "motion JPEG": ("a.avi", {"codec": "mjpeg", "pixels": "yuvj420p"}),
    "h264 without times": ("a.h264", B_FRAMES),
}  # fmt: skip
SEARCHED = [name for name in FORMATS if "without" not in name and "refresh" not in name]


@pytest.fixture(params=FORMATS)
def video(request, tmp_path):
    name, options = FORMATS[request.param]
    return encode(tmp_path / name, **options)


def backward(source, limit=10_000):
    frames = BackwardFrames(source, limit)
    return list(frames.read(0, frames.num_frames - 1))


def forward(source):
    with closing(source.attempted()) as frames:
        return list(frames)


def assert_same(found, expected):
    assert len(found) == len(expected)
    for (frame, seconds), (expected_frame, expected_seconds) in zip(found, expected, strict=True):
        assert seconds == expected_seconds
        if isinstance(expected_frame, VideoError):
            assert str(frame) == str(expected_frame)
        else:
            np.testing.assert_array_equal(frame, expected_frame)


def test_a_video_read_backward_has_the_frames_and_times_of_reading_it_forward(video):
    source = open_frames(video)
    assert_same(backward(source)[::-1], forward(source))


@pytest.mark.parametrize("video", SEARCHED, indirect=True)
def test_chunks_are_searched_for_instead_of_decoding_from_the_beginning(video):
    passes = []
    source = open_frames(video)
    frames = BackwardFrames(
        replace(source, read=lambda: passes.append("a pass") or source.read()), 10_000
    )
    list(frames.read(CHUNK + 3, frames.num_frames - 1))
    assert passes == ["a pass"]  # the one that counts the frames


def test_parts_are_read_without_the_rest(tmp_path):
    source = open_frames(encode(tmp_path / "a.mp4", **B_FRAMES))
    frames = BackwardFrames(source, 90)
    assert frames.num_frames == 90
    assert_same(list(frames.read(50, 89))[::-1], forward(source)[50:90])
    assert_same(list(frames.read(7, 7)), forward(source)[7:8])


@pytest.mark.filterwarnings("ignore:.*probably cut off:RuntimeWarning")
@pytest.mark.parametrize("broken", [0.3, 0.6, 0.9])
def test_a_damaged_video_gives_the_same_frames_backward(tmp_path, broken):
    path = encode(tmp_path / "a.avi", codec="mpeg4", g="20")
    content = bytearray(path.read_bytes())
    at = int(len(content) * broken)
    content[at : at + 4000] = np.random.default_rng(0).bytes(4000)
    path.write_bytes(content)
    source = open_frames(path)
    assert_same(backward(source)[::-1], forward(source))


def test_unreadable_frames_keep_their_places_and_messages(tmp_path):
    path = encode(tmp_path / "a.avi", codec="mjpeg", pixels="yuvj420p")
    content = bytearray(path.read_bytes())
    starts = [i for i in range(len(content) - 2) if content[i : i + 3] == b"\xff\xd8\xff"]
    for number in (3, 60):
        content[starts[number] : starts[number + 1] - 8] = bytes(
            starts[number + 1] - 8 - starts[number]
        )
    path.write_bytes(content)
    source = open_frames(path)
    found = backward(source)[::-1]
    assert [i for i, (one, _) in enumerate(found) if isinstance(one, VideoError)] == [3, 60]
    assert_same(found, forward(source))


def test_a_wrong_search_is_noticed_and_the_file_decoded_from_its_beginning(tmp_path):
    source = open_frames(encode(tmp_path / "a.mp4", **B_FRAMES))
    true = forward(source)

    def shifted(start, end, *, margin):
        for (frame, _), (_, seconds) in zip(true[1:], true, strict=False):
            if start <= seconds <= end:
                yield frame, seconds

    assert_same(backward(replace(source, between=shifted))[::-1], true)


def test_images_arrays_and_lists_are_read_by_their_numbers(tmp_path):
    frames = moving(6)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"{number}.png")
    (tmp_path / "3.png").write_bytes(b"damaged")
    folder = open_frames(tmp_path)
    assert_same(backward(folder)[::-1], forward(folder))
    for source in (frames, np.stack(frames), [Image.fromarray(frame) for frame in frames]):
        assert [x.tolist() for x, _ in backward(open_frames(source))] == [
            x.tolist() for x in reversed(frames)
        ]


class Repeated:
    """An iterable without numbers, that counts its frames that are alive."""

    def __init__(self, length=LENGTH):
        self.length, self.alive, self.most = length, weakref.WeakSet(), 0

    def __iter__(self):
        for number in range(self.length):
            frame = np.full((2, 2, 3), number % 256, np.uint8).view(Watched)
            self.alive.add(frame)
            self.most = max(self.most, len(self.alive))
            yield frame


class Watched(np.ndarray):
    __hash__ = object.__hash__


def test_an_iterable_is_read_again_and_never_held_whole():
    frames = Repeated()
    source = FrameSource(lambda: ((frame, None) for frame in frames))
    gc.collect()
    read = BackwardFrames(source, 10_000).read(0, LENGTH - 1)
    assert [int(frame[0, 0, 0]) for frame, _ in read] == list(reversed(range(LENGTH)))
    assert frames.most <= CHUNK + 2  # one with the reader, one with the caller


def test_an_iterator_is_refused_with_the_remedy():
    with pytest.raises(ConfigError, match=r"Write list\(frames\)"):
        BackwardFrames(open_frames(iter(moving(3))), 3)


def test_frames_that_are_gone_when_read_again_are_reported():
    lengths = iter([40, 20, 20])
    source = FrameSource(
        lambda: ((np.zeros((2, 2, 3), np.uint8), None) for _ in range(next(lengths)))
    )
    with pytest.raises(VideoError, match="frames 20 to 39 are missing"):
        backward(source)
