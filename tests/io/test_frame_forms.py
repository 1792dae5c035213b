"""Every form of a single frame, at every door that takes one."""

import io
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import tiny
from rmnet.errors import FrameError, RMNetError, VideoError
from rmnet.io import VideoWriter, as_frame, open_frames, overlay

FRAMES, LABELS = tiny.clip(3)
FRAME = FRAMES[1]


def png(frame=FRAME):
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "PNG")
    return buffer  # at its end, as users leave it


class NotSeekable(io.RawIOBase):
    """A file object like that of a connection."""

    def __init__(self, content):
        self._buffer = io.BytesIO(content)

    def readable(self):
        return True

    def readinto(self, target):
        return self._buffer.readinto(target)


@pytest.fixture
def forms(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png().getvalue())
    av = pytest.importorskip("av")
    with path.open("rb") as file:
        yield {
            "array": FRAME,
            "tensor": torch.from_numpy(FRAME).permute(2, 0, 1),
            "PIL": Image.fromarray(FRAME),
            "Path": path,
            "str": str(path),
            "bytes": path.read_bytes(),
            "bytearray": bytearray(path.read_bytes()),
            "memoryview": memoryview(path.read_bytes()),
            "BytesIO": png(),
            "file": file,
            "connection": NotSeekable(path.read_bytes()),
            "VideoFrame": av.VideoFrame.from_ndarray(FRAME, format="rgb24"),
        }


FORMS = ("array", "tensor", "PIL", "Path", "str", "bytes", "bytearray", "memoryview", "BytesIO",
         "file", "connection", "VideoFrame")  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_frame(forms, form):
    np.testing.assert_array_equal(as_frame(forms[form]), FRAME)


@pytest.mark.parametrize("form", FORMS)
def test_frames_of_every_form_make_a_video(forms, form):
    pair = [FRAMES[0], forms[form]]
    _, found = open_frames(pair if form != "connection" else iter(pair))
    np.testing.assert_array_equal(found, FRAME)


@pytest.mark.parametrize("form", ["Path", "str", "bytes", "BytesIO", "VideoFrame"])
def test_step_overlay_and_writer_take_every_form(forms, form, tmp_path):
    session, expected = tiny.segmenter().start(), tiny.segmenter().start()
    session.step(FRAMES[0], LABELS)
    expected.step(FRAMES[0], LABELS)
    result = session.step(forms[form])
    np.testing.assert_array_equal(result.labels, expected.step(FRAME).labels)
    drawn = result.overlay(forms[form])
    np.testing.assert_array_equal(drawn, overlay(FRAME, result.labels))
    with VideoWriter(tmp_path / "v.mp4") as writer:
        writer.write(forms[form])
    (written,) = open_frames(tmp_path / "v.mp4")
    assert written.shape == FRAME.shape


def test_damaged_file_leaves_the_session_as_it_was(tmp_path):
    session = tiny.segmenter().start()
    session.step(FRAMES[0], LABELS)
    for frame in (b"no image", tmp_path / "gone.png", png().getvalue()[:100], io.BytesIO()):
        with pytest.raises(
            VideoError, match=r"frame 1, .*, (cannot be read|does not exist).*accep"
        ):
            session.step(frame)
    assert session.frame_index == 0
    session.step(FRAME)


def test_damaged_image_among_frames_can_be_skipped():
    source = open_frames([png(FRAMES[0]), b"no image", FRAMES[2]])
    first, bad, last = (frame for frame, _ in source.attempted())
    np.testing.assert_array_equal(first, FRAMES[0])
    assert isinstance(bad, VideoError)
    np.testing.assert_array_equal(last, FRAMES[2])


def test_frames_of_pyav_bring_their_times(tmp_path):
    av = pytest.importorskip("av")
    with VideoWriter(tmp_path / "v.mp4") as writer:
        for frame, seconds in zip(FRAMES, (2, 2.5, 4), strict=True):
            writer.write(frame, seconds)
    with av.open(str(tmp_path / "v.mp4")) as container:
        pairs = list(open_frames(container.decode(video=0)).attempted())
    assert [seconds for _, seconds in pairs] == [0, 0.5, 2]
    for (frame, _), expected in zip(pairs, open_frames(tmp_path / "v.mp4"), strict=True):
        np.testing.assert_array_equal(frame, expected)


# --- floats --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_in_0_to_1_are_frames_when_they_are_said_to_be(dtype):
    floats = (FRAMES / 255).astype(dtype)
    tensors = torch.from_numpy(floats).permute(0, 3, 1, 2)
    for source in (floats, list(floats), iter(floats), tensors, list(tensors)):
        np.testing.assert_array_equal(np.stack(list(open_frames(source, unit_range=True))), FRAMES)
    for source in (floats, tensors):
        with pytest.raises(FrameError, match=r"float.*Write \(255 \* frame\)"):
            list(open_frames(source))
    np.testing.assert_array_equal(np.stack(list(open_frames(FRAMES, unit_range=True))), FRAMES)


@pytest.mark.parametrize("value", [2.0, -0.5, float("nan"), float("inf")])
def test_floats_beyond_0_to_1_are_refused(value):
    floats = FRAME.astype(np.float32) / 255
    floats[3, 4] = value
    with pytest.raises(FrameError, match=r"holds floats from .*; accepted: \[0, 1\]"):
        as_frame(floats, unit_range=True)


def test_what_resizing_adds_to_0_to_1_is_cut_off():
    floats = np.ones((4, 5, 3), np.float32) + np.float32(1e-6)
    floats[0] = -1e-6
    frame = as_frame(floats, unit_range=True)
    assert (frame[0] == 0).all()
    assert (frame[1:] == 255).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.uint8])
def test_images_of_torchvision_say_what_their_floats_are(dtype):
    tv_tensors = pytest.importorskip("torchvision.tv_tensors")
    pixels = torch.from_numpy(FRAMES).permute(0, 3, 1, 2)
    pixels = pixels if dtype == torch.uint8 else (pixels / 255).to(dtype)
    slack = 1 if dtype == torch.bfloat16 else 0  # it has 8 bits
    for source in (tv_tensors.Video(pixels), [tv_tensors.Image(one) for one in pixels]):
        found = np.stack(list(open_frames(source))).astype(int)
        assert np.abs(found - FRAMES).max() <= slack
    assert tiny.segmenter().track(tv_tensors.Video(pixels), LABELS).labels.shape[0] == 3


def test_frames_need_neither_torchvision_nor_pyav():
    program = (
        "import sys, torch; from rmnet.io import as_frame\n"
        "as_frame(torch.zeros(3, 4, 5, dtype=torch.uint8))\n"
        "try: as_frame(object())\n"
        "except ValueError: pass\n"
        "assert not {'av', 'torchvision'} & {name.split('.')[0] for name in sys.modules}"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


# --- the remedies in messages run ----------------------------------------------------------------


class OtherLibrary:
    """An image of another library, which NumPy can read."""

    def __array__(self, dtype=None, copy=None):
        return FRAME


REMEDIES = {
    "float array": FRAME / 255,
    "float tensor": torch.from_numpy(FRAME).permute(2, 0, 1) / 255,
    "beyond 0 to 1": FRAME.astype(np.float32),
    "grey array": FRAME[..., 0],
    "grey array with an axis": FRAME[..., :1],
    "RGBA array": np.zeros((64, 96, 4), np.uint8),
    "channels-first array": FRAME.transpose(2, 0, 1),
    "channels-last tensor": torch.from_numpy(FRAME),
    "grey tensor": torch.from_numpy(FRAME[..., 0]),
    "grey tensor with an axis": torch.from_numpy(FRAME[..., 0])[None],
    "RGBA tensor": torch.zeros(4, 6, 5, dtype=torch.uint8),
    "batch": FRAMES,
    "batch of tensors": torch.from_numpy(FRAMES).permute(0, 3, 1, 2),
    "rows": FRAME.tolist(),
    "other library": OtherLibrary(),
    "16-bit image": Image.new("I;16", (5, 4), 3000),
}
EXPRESSION = re.compile(r"Write (.+?)(, (if|to|one) .*)?$")


@pytest.mark.parametrize("frame", REMEDIES.values(), ids=REMEDIES)
def test_remedy_in_the_message_makes_a_frame(frame):
    unit_range = isinstance(frame, np.ndarray) and frame.dtype == np.float32
    with pytest.raises(FrameError) as caught:
        as_frame(frame, unit_range=unit_range)
    names = {"np": np, "torch": torch, "frame": frame, "frames": frame, "gray": frame}
    names["image"] = frame
    found = eval(EXPRESSION.search(str(caught.value))[1], names)
    assert as_frame(found, unit_range=unit_range).shape[2] == 3


def test_objects_without_a_sure_remedy_get_none():
    for frame in (object(), None, 7, {1: 2}, {1}):
        with pytest.raises(FrameError) as caught:
            as_frame(frame)
        assert "Write" not in str(caught.value)


def test_file_opened_as_text_is_refused_with_the_line_to_write(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png().getvalue())
    for door in (as_frame, open_frames):
        with path.open() as file, pytest.raises(RMNetError, match="opened as text") as caught:
            door(file)
        with eval(str(caught.value).partition("Write ")[2], {"path": path, "open": open}) as file:
            found = door(file)
            frame = found if door is as_frame else next(iter(found))
            np.testing.assert_array_equal(frame, FRAME)


def test_closed_file_is_refused():
    file = png()
    file.close()
    for door in (as_frame, open_frames):
        with pytest.raises(VideoError, match="closed file"):
            door(file)
