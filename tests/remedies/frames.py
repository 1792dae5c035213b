"""Remedies of the intake of frames in `rmnet.io`."""

from __future__ import annotations

import io
import shutil
import sys
import wave
from contextlib import suppress
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from PIL import Image

import rmnet.io
from remedies.table import World, row
from rmnet.errors import VideoError
from rmnet.io import VideoWriter, as_frame, open_frames


def accepted_frames(w: World) -> None:
    """Read each form of a single frame that messages call accepted."""
    path = next(w.images.iterdir())
    tensor = torch.from_numpy(w.frames[0]).permute(2, 0, 1)
    with path.open("rb") as file:
        for frame in (w.frames[0], tensor, Image.open(path), path, path.read_bytes(), file):
            assert as_frame(frame).shape == w.frames[0].shape


def accepted_sources(w: World) -> None:
    """Read each form of a video that messages call accepted, but streams and cameras."""
    images = sorted(w.images.iterdir())
    for source in (w.video, w.images, str(w.images / "*.jpg"), images, w.frames):
        assert len(list(open_frames(source))) == len(w.frames)


@row("io/frame_source.py", "there is no file or folder {}; accepted: ")
def _(w: World) -> None:
    with w.refused():
        open_frames(w.folder / "nowhere")
    accepted_sources(w)


@row("io/frame_source.py", "fps is {}; accepted: a number from {} to {}")
def _(w: World) -> None:
    with w.refused():
        open_frames(w.frames, fps=0)
    for fps in w.advice("from (.*)").split(" to "):
        open_frames(w.frames, fps=float(fps))


@row("io/frame_source.py", "Write [frame], if it is a single frame")
def _(w: World) -> None:
    frame = w.frames[0]
    with w.refused():
        open_frames(frame)
    [read] = open_frames(eval(w.advice("Write (.*), if"), {"frame": frame}))
    assert np.array_equal(read, frame)
    accepted_sources(w)


@row("io/frame_source.py", "the video has no frames{}; accepted: at least one")
def _(w: World) -> None:
    with w.refused():
        list(open_frames([]))
    list(open_frames(w.frames[:1]))


@row("io/frame_source.py", "the frames are a list of paths and others; accepted: one of the two")
def _(w: World) -> None:
    images = sorted(w.images.iterdir())
    with w.refused():
        open_frames([images[0], w.frames[1]])
    list(open_frames(images))
    list(open_frames(list(w.frames)))


@row("io/frame_source.py", "{} cannot be opened: {}; accepted: ")
def _(w: World) -> None:
    with w.refused():
        open_frames("~nobody-of-this-name/clip.mp4")
    accepted_sources(w)


@row("io/frames.py", "{} is a {}; accepted: ")
def _(w: World) -> None:
    frame = w.frames[0].tolist()
    with w.refused():
        as_frame(frame)
    as_frame(eval(w.advice("Write (.*), if"), {"np": np, "frame": frame}))


@row("io/frames.py", "{} is a {}; accepted: ")
def _(w: World) -> None:
    class Picture:  # of another library
        def __array__(self, dtype=None, copy=None):
            return w.frames[0]

    frame = Picture()
    with w.refused():
        as_frame(frame)
    as_frame(eval(w.advice("Write (.*), if"), {"np": np, "frame": frame}))


@row("io/frames.py", "{} is a {}; accepted: ")
def _(w: World) -> None:
    with w.refused():
        as_frame(3.14)
    assert "Write" not in (w.message or "")
    accepted_frames(w)


@row("io/frames.py", "Write (255 * frame).round().{}, if it lies in [0, 1]")
def _(w: World) -> None:
    image = (w.frames[0] / 255).astype(np.float32)
    for frame in (image, torch.from_numpy(image).permute(2, 0, 1)):
        with w.refused():
            as_frame(frame)
        names = {"np": np, "torch": torch, "frame": frame}
        assert np.array_equal(as_frame(eval(w.advice("Write (.*), if"), names)), w.frames[0])


@row("io/frames.py", "{} is {} of shape {}; accepted: ")
def _(w: World) -> None:
    rgb = w.frames[0]
    tensor = torch.from_numpy(rgb).permute(2, 0, 1)
    alpha = np.dstack([rgb, rgb[..., :1]])
    for name, frame in (
        ("frame", rgb.transpose(2, 0, 1)),
        ("frame", tensor.permute(1, 2, 0)),
        ("gray", rgb[..., 0]),
        ("gray", rgb[..., :1]),
        ("gray", tensor[0]),
        ("gray", tensor[:1]),
        ("frame", alpha),
        ("frame", torch.from_numpy(alpha).permute(2, 0, 1)),
        ("frames", w.frames),
        ("frames", torch.from_numpy(w.frames).permute(0, 3, 1, 2)),
    ):
        with w.refused():
            as_frame(frame)
        line = w.advice(r"Write (.*?)(?:, (?:to|one) .*)?$")
        assert as_frame(eval(line, {"np": np, name: frame})).shape == rgb.shape


@row("io/frames.py", "{} has no pixels: shape {}; accepted: ")
def _(w: World) -> None:
    with w.refused():
        as_frame(w.frames[0][:0])
    accepted_frames(w)


@row("io/frames.py", "{} holds floats from {} to {}; accepted: [0, 1]. Write ")
def _(w: World) -> None:
    frame = w.frames[0].astype(np.float32)
    with w.refused():
        as_frame(frame, unit_range=True)
    as_frame(eval(w.advice("Write (.*), if"), {"frame": frame}), unit_range=True)


@row("io/frames.py", "{} is a PIL image of mode {}; accepted: 8 bits a channel. Write ")
def _(w: World) -> None:
    image = Image.fromarray(w.frames[0, ..., 0].astype(np.uint16) * 256)
    with w.refused():
        as_frame(image)
    frame = as_frame(eval(w.advice("Write (.*), if"), {"np": np, "image": image}))
    assert np.array_equal(frame[..., 0], w.frames[0, ..., 0])


@row("io/frames.py", "{} has no pixels: size {}; accepted: ")
def _(w: World) -> None:
    with w.refused():
        as_frame(Image.new("RGB", (0, 4)))
    accepted_frames(w)


@row("io/frames.py", "{} has no pixels to read: {}; accepted: ")
def _(w: World) -> None:
    with w.refused():
        as_frame(torch.zeros(3, 4, 4, dtype=torch.uint8, device="meta"))
    accepted_frames(w)


@row("io/frames.py", "{} cannot be decoded: {}; accepted: ")
def _(w: World) -> None:
    content = next(w.images.iterdir()).read_bytes()
    (w.folder / "half.jpg").write_bytes(content[: len(content) // 2])
    with Image.open(w.folder / "half.jpg") as image, w.refused():
        as_frame(image)
    accepted_frames(w)


@row(
    "io/image_files.py",
    "{} is a file opened as text; accepted: a binary one. Write open(path, 'rb')",
)
def _(w: World) -> None:
    path = next(w.images.iterdir())
    with path.open(encoding="latin-1") as file, w.refused():
        as_frame(file)
    with eval(w.advice("Write (.*)"), {"path": path, "open": lambda p, mode: p.open(mode)}) as file:
        as_frame(file)


@row(
    "io/image_files.py",
    "{} holds {} pictures; accepted: one picture a file, or a video of that file",
)
def _(w: World) -> None:
    first, *others = (Image.fromarray(frame) for frame in w.frames)
    first.save(w.folder / "x.gif", save_all=True, append_images=others)
    with w.refused():
        as_frame(w.folder / "x.gif")
    assert len(list(open_frames(w.folder / "x.gif"))) == len(w.frames)


@row("io/image_files.py", "{} does not exist; accepted: an existing image file")
def _(w: World) -> None:
    with w.refused():
        as_frame(w.folder / "nowhere.png")
    as_frame(next(w.images.iterdir()))


@row("io/image_files.py", "{} cannot be read: {}; accepted: an undamaged {} or {}")
def _(w: World) -> None:
    (w.folder / "x.png").write_bytes(b"no picture")
    with w.refused():
        as_frame(w.folder / "x.png")
    for name in w.advice("undamaged (.*)").replace(" or ", ", ").split(", "):
        Image.fromarray(w.frames[0]).save(w.folder / "x.png", format=name)
        as_frame(w.folder / "x.png")


@row("io/image_files.py", "at most {}. Write PIL.Image.MAX_IMAGE_PIXELS = ..., if you trust it")
def _(w: World) -> None:
    path = next(w.images.iterdir())
    w.patch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with w.refused():
        as_frame(path)
    exec(w.advice("Write (.*), if").replace("...", "10**6"), {"PIL": PIL})
    as_frame(path)


@row("io/image_folder.py", "no file matches {}; accepted: a glob of images")
def _(w: World) -> None:
    with w.refused():
        open_frames(str(w.images / "*.tif"))
    open_frames(str(w.images / "*.jpg"))


@row("io/image_folder.py", "the folder {} holds no images{}; {}")
def _(w: World) -> None:
    (w.folder / "empty").mkdir()
    with w.refused():
        open_frames(w.folder / "empty")
    for suffix in w.advice("accepted: (.*)").split(", "):
        shutil.rmtree(w.folder / "empty")
        (w.folder / "empty").mkdir()
        name = {".pgm": "PPM", ".pnm": "PPM", ".jpe": "JPEG"}.get(suffix)
        Image.fromarray(w.frames[0]).save(w.folder / "empty" / f"x{suffix}", format=name)
        assert len(list(open_frames(w.folder / "empty"))) == 1


@row("io/image_folder.py", "holds both {} and {}; accepted: one image a frame. Write {}")
def _(w: World) -> None:
    for folder in (w.images, w.images.with_name("clip [1080p]")):
        w.images.rename(folder)
        Image.fromarray(w.frames[0]).save(folder / "00000.png")
        with w.refused():
            open_frames(folder)
        assert len(list(open_frames(eval(w.advice("Write (.*)"))))) == len(w.frames)
        folder.rename(w.images)


@row("io/video_input.py", "there is no camera {}; accepted: below {}")
def _(w: World) -> None:
    device = pytest.importorskip("av.device")
    cameras = [type("Device", (), {"name": "Webcam", "media_types": ["video"]})]
    w.patch.setattr("sys.platform", "win32")
    w.patch.setattr(device, "enumerate_input_devices", lambda _: cameras, raising=False)
    with w.refused():
        open_frames(1)
    open_frames(int(w.advice(r"below (\d)")) - 1)


@row("io/video_input.py", "cameras by number need a newer PyAV. Write pip install --upgrade av")
def _(w: World) -> None:
    pytest.importorskip("av")
    w.patch.setattr("sys.platform", "win32")
    w.patch.setitem(sys.modules, "av.device", None)
    with w.refused():
        open_frames(0)
    w.assert_extra("video", "av")


@row(
    "io/video_input.py", "{} cannot be opened on {}; accepted: cameras on Linux, macOS and Windows"
)
def _(w: World) -> None:
    pytest.importorskip("av")
    with w.patch.context() as patch:
        patch.setattr("sys.platform", "sunos5")
        with w.refused():
            open_frames(0)
    for platform in ("linux", "darwin"):
        w.patch.setattr("sys.platform", platform)
        open_frames(0)


@row("io/video_input.py", "Write pip install 'rmnet[video]', or give a folder of images")
def _(w: World) -> None:
    video = w.video
    w.without("av")
    with w.refused():
        open_frames(video)
    w.assert_extra("video", "av")
    open_frames(w.images)


@row(
    "io/video_reader.py",
    "{} has no video stream; accepted: any video that FFmpeg reads, or a folder",
)
def _(w: World) -> None:
    pytest.importorskip("av")
    with wave.open(str(w.folder / "x.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(800))
    with w.refused():
        open_frames(w.folder / "x.wav")
    accepted_sources(w)


@row(
    "io/video_reader.py", "the codec of {} is not known to FFmpeg; accepted: any video that FFmpeg"
)
def _(w: World) -> None:
    content = w.video.read_bytes()
    (w.folder / "x.mp4").write_bytes(content.replace(b"avc1", b"?!?!").replace(b"avcC", b"????"))
    with w.refused():
        open_frames(w.folder / "x.mp4")
    accepted_sources(w)


@row(
    "io/video_reader.py", "{} cannot be read as a video: {}; accepted: any video that FFmpeg reads"
)
def _(w: World) -> None:
    pytest.importorskip("av")
    (w.folder / "x.mp4").write_bytes(b"no video")
    with w.refused():
        open_frames(w.folder / "x.mp4")
    accepted_sources(w)


def written_again(damaged: object, new: Path) -> None:
    """Do what `ffmpeg -i damaged.mp4 new.mp4` does: encode the frames that can be decoded."""
    with VideoWriter(new) as writer, suppress(VideoError):  # the rest is lost
        for frame, _ in open_frames(damaged).attempted():
            if not isinstance(frame, VideoError):
                writer.write(frame)


@row(
    "io/video_reader.py",
    "frame {} of {} cannot be decoded: {}; accepted: an undamaged video. Write it",
)
def _(w: World) -> None:
    av = pytest.importorskip("av")
    path = w.folder / "damaged.mp4"
    with av.open(str(path), "w") as container:  # each frame is a JPEG of its own
        stream = container.add_stream("mjpeg", rate=24)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuvj444p"
        for frame in w.frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    content = path.read_bytes()
    starts = [i for i in range(len(content)) if content[i : i + 3] == b"\xff\xd8\xff"]
    zeros = bytes(starts[3] - starts[2])
    path.write_bytes(content[: starts[2]] + zeros + content[starts[3] :])
    with w.refused():
        list(open_frames(path))
    written_again(path, w.folder / "new.mp4")
    assert len(list(open_frames(w.folder / "new.mp4"))) == len(w.frames) - 1


class FailingDisk(io.FileIO):
    """A file of which only the first bytes that are asked for can be read."""

    left = 200_000

    def read(self, size: int = -1) -> bytes:
        self.left -= size
        if self.left < 0:
            raise OSError("disk failed")
        return super().read(size)


@row(
    "io/video_reader.py",
    "the rest of {} cannot be read: {}; accepted: an undamaged video. Write it",
)
def _(w: World) -> None:
    pytest.importorskip("av")
    path, random = w.folder / "damaged.mkv", np.random.default_rng(0)
    with VideoWriter(path) as writer:
        for _ in range(30):
            writer.write(random.integers(0, 256, (64, 96, 3), np.uint8))
    with FailingDisk(path) as file, w.refused():
        list(open_frames(file))
    with FailingDisk(path) as file:
        written_again(file, w.folder / "new.mp4")
    assert 0 < len(list(open_frames(w.folder / "new.mp4"))) < 30


@row(
    "io/reverse.py", "the frames come from an iterator, which gives them once and in its own order"
)
def _(w: World) -> None:
    frames = iter(w.frames)
    with w.refused():
        w.segmenter.track(frames, masks={3: w.labels}, direction="backward")
    frames = eval(w.advice("Write (.*), if they fit"), {"frames": frames})
    result = w.segmenter.track(frames, masks={3: w.labels}, direction="backward")
    assert len(result) == len(w.frames)


class ShrinkingFrames:
    """Frames of which fewer come each time."""

    def __init__(self, frames: np.ndarray) -> None:
        self.frames = list(frames)

    def __iter__(self):
        frames, self.frames = self.frames, self.frames[:-1]
        return iter(frames)


@row("io/reverse.py", "frames {} to {} are missing when the video is read again; accepted: frames")
def _(w: World) -> None:
    frames = ShrinkingFrames(w.frames)
    with w.refused():
        w.segmenter.track(frames, masks={3: w.labels}, direction="backward")
    frames = eval(w.advice("Write (.*)"), {"rmnet": rmnet, "frames": ShrinkingFrames(w.frames)})
    w.segmenter.track(frames, masks={3: w.labels}, direction="backward")
