"""Of a video file: the stream that players show, the shape of its pixels, and its times."""

import io
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

import tiny
from rmnet.errors import ConfigError, FrameError, VideoError
from rmnet.io import VideoWriter, open_frames

av = pytest.importorskip("av")

SMALL, LARGE = (48, 64), (96, 128)


def grey(size, level, count=4):
    return [np.full((*size, 3), level, np.uint8)] * count


def encode(path, streams, *, aspect=None, turn=None, file=None):
    """Streams as (frames, disposition or None); all of one length."""
    from av.stream import Disposition

    with av.open(file or str(path), "w", format="mp4" if file else None) as container:
        opened = []
        for frames, disposition in streams:
            stream = container.add_stream("libx264", rate=24)
            stream.height, stream.width = frames[0].shape[:2]
            stream.pix_fmt = "yuv420p"
            if disposition is not None:
                stream.disposition = Disposition[disposition] if disposition else Disposition(0)
            if aspect is not None:
                stream.codec_context.sample_aspect_ratio = aspect
            if turn is not None:
                stream.set_display_rotation(turn)
            opened.append(stream)
        for number in range(len(streams[0][0])):
            for stream, (frames, _) in zip(opened, streams, strict=True):
                frame = av.VideoFrame.from_ndarray(frames[number], format="rgb24")
                container.mux(stream.encode(frame))
        for stream in opened:
            container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("streams", "shown"),
    [
        ([(SMALL, ""), (LARGE, "default")], LARGE),
        ([(LARGE, "default"), (SMALL, "")], LARGE),
        ([(LARGE, ""), (SMALL, "default")], SMALL),  # the file says so
        ([(SMALL, ""), (LARGE, "")], LARGE),
        ([(LARGE, ""), (SMALL, "")], LARGE),
        ([(SMALL, "default"), (LARGE, "default")], LARGE),
    ],
)
def test_stream_that_players_show_is_read(tmp_path, streams, shown):
    content = [(grey(size, 60), disposition) for size, disposition in streams]
    opened = open_frames(encode(tmp_path / "v.mkv", content))
    assert [frame.shape[:2] for frame in opened] == [shown] * 4


def test_small_preview_before_the_video_is_not_tracked(tmp_path):
    frames, labels = tiny.clip(4)
    path = encode(tmp_path / "v.mp4", [(grey((32, 48), 60), ""), (list(frames), "default")])
    assert tiny.segmenter().track(path, labels).labels.shape == (4, *labels.shape)


def test_equal_streams_give_the_first(tmp_path):
    path = encode(tmp_path / "v.mkv", [(grey(SMALL, 40), ""), (grey(SMALL, 200), "")])
    assert next(iter(open_frames(path))).mean() < 100


# --- the shape of pixels -------------------------------------------------------------------------


def shown_aspect(path):
    """The aspect of pixels as PyAV alone reads it."""
    with av.open(str(path)) as container:
        next(container.decode(video=0))
        return container.streams.video[0].sample_aspect_ratio


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
@pytest.mark.parametrize("aspect", [Fraction(4, 3), Fraction(16, 11), Fraction(8, 9)])
def test_shape_of_pixels_is_carried_into_the_overlay(tmp_path, suffix, aspect):
    frames, labels = tiny.clip(4)
    path = encode(tmp_path / f"v{suffix}", [(list(frames), None)], aspect=aspect)
    opened = open_frames(path)
    assert opened.pixel_aspect == aspect
    result = tiny.segmenter().track(path, labels)
    assert result.labels.shape == (4, *labels.shape)  # the pixels are as they are stored
    drawn = result.save_video(tmp_path / f"o{suffix}")
    assert shown_aspect(drawn) == aspect
    assert open_frames(drawn).pixel_aspect == aspect


def test_square_pixels_stay_square(tmp_path):
    frames, labels = tiny.clip(3)
    path = encode(tmp_path / "v.mp4", [(list(frames), None)])
    assert open_frames(path).pixel_aspect == open_frames(frames).pixel_aspect == 1
    drawn = tiny.segmenter().track(path, labels).save_video(tmp_path / "o.mp4")
    assert shown_aspect(drawn) in (None, 1)


def test_video_lying_on_its_side_has_its_pixels_turned_too(tmp_path):
    if not hasattr(av.video.stream.VideoStream, "set_display_rotation"):
        pytest.skip("PyAV before 18 writes no display matrix")
    path = encode(tmp_path / "v.mp4", [(grey(SMALL, 60), None)], aspect=Fraction(4, 3), turn=90)
    opened = open_frames(path)
    assert opened.pixel_aspect == Fraction(3, 4)
    assert next(iter(opened)).shape[:2] == SMALL[::-1]


# --- rates ---------------------------------------------------------------------------------------


def times_of(source):
    return [seconds for _, seconds in source.attempted()]


def test_rate_gives_times_to_what_has_none(tmp_path):
    frames, _ = tiny.clip(3)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"{number}.png")
    for source in (frames, list(frames), tmp_path, str(tmp_path / "*.png"), iter(frames)):
        opened = open_frames(source, fps=10)
        assert opened.frames_per_second == 10
        assert times_of(opened) == [0, 0.1, 0.2]


def test_rate_replaces_the_times_of_a_video_and_keeps_the_rest(tmp_path):
    path = encode(tmp_path / "v.mp4", [(grey(SMALL, 60), None)], aspect=Fraction(4, 3))
    opened = open_frames(open_frames(path), fps=Fraction(25, 2))
    assert (opened.frames_per_second, opened.num_frames) == (12.5, 4)
    assert opened.pixel_aspect == Fraction(4, 3)
    assert times_of(opened) == [0, 0.08, 0.16, 0.24]


def test_rate_of_tracked_frames_is_that_of_the_overlay(tmp_path):
    frames, labels = tiny.clip(3)
    segmenter = tiny.segmenter()
    result = segmenter.track(open_frames(frames, fps=5), labels)
    assert [frame.seconds for frame in result] == [0, 0.2, 0.4]
    assert times_of(open_frames(result.save_video(tmp_path / "5.mp4"))) == [0, 0.2, 0.4]
    assert times_of(open_frames(result.save_video(tmp_path / "2.mp4", fps=2))) == [0, 0.5, 1]
    result = segmenter.track(iter(frames), labels)
    drawn = result.save_video(tmp_path / "4.mp4", frames, fps=4)
    assert times_of(open_frames(drawn)) == [0, 0.25, 0.5]
    with pytest.raises(ConfigError, match="generator, camera or stream"):
        result.save_video(tmp_path / "x.mp4", fps=4)


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf"), "25", None])
def test_rates_that_are_none_are_refused(fps):
    frames, _ = tiny.clip(2)
    if fps is None:
        assert open_frames(frames, fps=fps).frames_per_second is None
        return
    with pytest.raises(ConfigError, match=r"fps is .*; accepted: a number from 0.001 to 60000"):
        open_frames(frames, fps=fps)


# --- videos that are no path ---------------------------------------------------------------------


class OnceOnly(io.RawIOBase):
    """A file object that cannot seek."""

    def __init__(self, content):
        self._buffer = io.BytesIO(content)

    def readable(self):
        return True

    def readinto(self, target):
        return self._buffer.readinto(target)


def test_content_and_file_objects_of_videos_are_read(tmp_path):
    frames = [np.full((*SMALL, 3), 40 * number, np.uint8) for number in range(5)]
    path = tmp_path / "v.mkv"
    with VideoWriter(path) as writer:
        for frame in frames:
            writer.write(frame)
    content = path.read_bytes()
    expected = np.stack(list(open_frames(path)))
    with path.open("rb") as file:
        file.read(100)  # as after a look at the head
        for source in (content, bytearray(content), memoryview(content), io.BytesIO(content), file):
            opened = open_frames(source)
            assert opened.reiterable
            assert opened.frames_per_second == 24
            for _ in range(2):
                np.testing.assert_array_equal(np.stack(list(opened)), expected)
    opened = open_frames(OnceOnly(content))
    assert not opened.reiterable
    np.testing.assert_array_equal(np.stack(list(opened)), expected)
    with pytest.raises(VideoError, match="cannot be read as a video"):
        open_frames(b"no video")
    with pytest.raises(VideoError, match="cannot be read as a video"):
        open_frames(b"")


def test_file_closed_before_the_frames_are_read_is_refused(tmp_path):
    with VideoWriter(tmp_path / "v.mp4") as writer:
        writer.write(np.zeros((*SMALL, 3), np.uint8))
    with (tmp_path / "v.mp4").open("rb") as file:
        opened = open_frames(file)
    with pytest.raises(VideoError, match=r"v.mp4' cannot be read as a video: .*closed file"):
        list(opened)


@pytest.mark.parametrize("form", [bytes, io.BytesIO])
def test_playlists_in_memory_are_not_followed(form):
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n"
    with pytest.raises(VideoError, match="cannot be read as a video"):
        open_frames(form(playlist))


def test_path_of_a_video_is_no_frame(tmp_path):
    path = encode(tmp_path / "v.mp4", [(grey(SMALL, 60), None)])
    with pytest.raises((VideoError, FrameError), match=r"accepted: an undamaged BMP"):
        tiny.segmenter().start().step(path, np.ones(SMALL, np.uint8))
