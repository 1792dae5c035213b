"""Sources that run once and stop at any time: cameras, streams, pipes, files that still grow."""

import contextlib
import os
import socket
import struct
import sys
import threading
import time
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

import tiny
from rmnet.errors import FrameError, MissingDependencyError, VideoError
from rmnet.io import open_frames
from rmnet.io.video_input import camera_input, stream_input

av = pytest.importorskip("av")

pytestmark = pytest.mark.timeout(60)
FRAMES, LABELS = tiny.clip(12)


class Sink:
    """What PyAV writes to: calls `send` with each piece."""

    def __init__(self, send):
        self._send = send

    def write(self, piece):
        self._send(piece)
        return len(piece)


def send_video(send, frames=FRAMES, kind="mpegts", pause=0.0):
    with av.open(Sink(send), "w", format=kind) as container:
        stream = container.add_stream("mpeg2video", rate=24)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            time.sleep(pause)
        container.mux(stream.encode(None))


@contextlib.contextmanager
def sender(*, head=b"", end="close", **video):
    """Send a video to whoever connects, and then close, reset or fall silent; gives the port."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            server.settimeout(20)
            connection, _ = server.accept()
            with connection:
                if head:
                    connection.recv(4096)
                connection.sendall(head)
                send_video(connection.sendall, **video)
                if end == "reset":
                    linger = struct.pack("ii", 1, 0)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                if end == "silence":
                    over.wait(20)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        over.set()
        thread.join(20)
        assert not thread.is_alive()


HTTP = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(("scheme", "head"), [("tcp", b""), ("http", HTTP)])
def test_stream_is_tracked_until_its_sender_stops(scheme, head):
    with sender(head=head, pause=0.01) as port, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some protocols know no end but the broken line
        source = open_frames(f"{scheme}://127.0.0.1:{port}/live.ts")
        assert (source.reiterable, source.num_frames) == (False, None)
        result = tiny.segmenter().track(source, LABELS)
    assert len(result) == len(FRAMES)
    times = [frame.seconds for frame in result]
    np.testing.assert_allclose(times, np.arange(len(FRAMES)) / 24, atol=1e-3)


def test_stream_that_breaks_off_keeps_its_frames_and_warns():
    with sender(end="reset") as port:
        source = open_frames(f"tcp://127.0.0.1:{port}")
        with pytest.warns(RuntimeWarning, match=r"broke off, which is taken as its end"):
            frames = list(source)
    assert 1 <= len(frames) <= len(FRAMES)


def test_stream_that_falls_silent_ends(monkeypatch):
    monkeypatch.setattr("rmnet.io.video_input._PATIENCE", (1.0, 0.5))
    with sender(end="silence") as port:
        source = open_frames(f"tcp://127.0.0.1:{port}")
        with pytest.warns(RuntimeWarning, match=r"broke off, which is taken as its end"):
            assert len(list(source)) == len(FRAMES)


def test_stream_without_a_sender_is_refused_without_its_password():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    source = open_frames(f"rtsp://me:secret@127.0.0.1:{port}/x")
    with pytest.raises(VideoError, match=rf"'rtsp://127.0.0.1:{port}/x' cannot be read") as caught:
        list(source)
    assert "secret" not in str(caught.value)


def test_stream_reads_no_file_of_this_machine():
    for url in ("http://h/x.m3u8", "rtsp://h/x", "udp://h:1"):
        protocols = stream_input(url).protocols.split(",")
        assert not {"file", "concat", "subfile", "pipe", "fd", "async", "cache"} & set(protocols)
    with pytest.raises(VideoError, match="no file or folder"):
        open_frames("file:///etc/passwd")
    with pytest.raises(VideoError, match="no file or folder"):
        open_frames("concat://a|b")


def test_generator_of_a_camera_ends_when_it_does():
    def camera():
        yield from FRAMES[:5]

    result = tiny.segmenter().track(camera(), LABELS)
    assert len(result) == 5
    assert [frame.seconds for frame in result] == [None] * 5
    timed = tiny.segmenter().track(open_frames(camera(), fps=10), LABELS)
    assert [frame.seconds for frame in timed] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


@pytest.mark.parametrize("kind", ["mpegts", "matroska"])
def test_file_that_grows_ends_with_what_is_there(tmp_path, kind):
    frames = [np.random.default_rng(i).integers(0, 256, (64, 96, 3), np.uint8) for i in range(60)]
    pieces = []
    send_video(pieces.append, frames=frames, kind=kind)
    content = b"".join(pieces)
    path = tmp_path / "growing.ts"
    path.write_bytes(content[: len(content) // 3])
    reader = iter(open_frames(path))
    found = [next(reader), next(reader)]
    with path.open("ab") as file:
        file.write(content[len(content) // 3 : len(content) // 2])
    found += reader  # no hang, no error, no warning
    assert 15 < len(found) <= 30
    for frame, sent in zip(found[:-2], frames, strict=False):
        assert np.abs(frame.astype(int) - sent).mean() < 60


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_named_pipe_is_read_once(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)

    def write():
        with path.open("wb", buffering=0) as pipe:
            send_video(pipe.write)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    source = open_frames(path)
    assert not source.reiterable
    assert len(list(source)) == len(FRAMES)
    thread.join(20)


# --- cameras, which are not here -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("system", "file", "kind"),
    [
        ("linux", "/dev/video1", "v4l2"),
        ("darwin", "1", "avfoundation"),
        ("win32", "video=@device_2", "dshow"),
    ],
)
def test_camera_is_opened_as_its_system_names_it(monkeypatch, system, file, kind):
    devices = [
        SimpleNamespace(name="@device_0", media_types=["video"]),
        SimpleNamespace(name="@device_1", media_types=["audio"]),
        SimpleNamespace(name="@device_2", media_types=["video", "audio"]),
    ]
    monkeypatch.setattr("av.device.enumerate_input_devices", lambda kind: devices)
    monkeypatch.setattr(sys, "platform", system)
    camera = camera_input(1)
    assert (camera.file, camera.format, camera.is_live) == (file, kind, True)
    if system == "win32":
        with pytest.raises(VideoError, match=r"there is no camera 2; accepted: below 2"):
            camera_input(2)


def test_camera_gives_frames_once_and_ends_when_it_is_unplugged(tmp_path, monkeypatch):
    recorded = tmp_path / "v.ts"
    with recorded.open("wb") as file:
        send_video(file.write)
    asked, really_open = [], av.open

    def fake_open(file, mode, *, format, options, timeout):  # noqa: A002 as PyAV names it
        asked.append((file, format))
        return really_open(str(recorded), mode)

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(av, "open", fake_open)
    source = open_frames(0)
    assert (source.reiterable, source.num_frames, asked) == (False, None, [])
    assert len(tiny.segmenter().track(source, LABELS)) == len(FRAMES)
    assert asked == [("/dev/video0", "v4l2")]


def test_camera_that_is_not_there_is_refused():
    with pytest.raises(VideoError, match="camera 97 cannot be read as a video"):
        list(open_frames(97))


def test_camera_without_pyav_is_refused_with_the_command(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "av"]:
        monkeypatch.setitem(sys.modules, name, None)
    for source in (0, "rtsp://127.0.0.1/x"):
        with pytest.raises(MissingDependencyError, match=r"pip install 'rmnet\[video\]'"):
            open_frames(source)


def test_joining_a_stream_before_its_key_frame_loses_no_more_than_that():
    pieces = []
    send_video(pieces.append, frames=[*FRAMES, *FRAMES])
    content = b"".join(pieces)
    from io import BytesIO, RawIOBase

    class Joined(RawIOBase):
        _buffer = BytesIO(content[188 * 40 :])

        def readable(self):
            return True

        def readinto(self, target):
            return self._buffer.readinto(target)

    frames = list(open_frames(Joined()))
    assert 6 <= len(frames) <= 24


@pytest.mark.parametrize("number", [1000, 10**5000, -1], ids=["1000", "huge", "-1"])
def test_a_number_that_no_camera_has_is_refused(number):
    with pytest.raises(FrameError, match="accepted"):
        open_frames(number)
