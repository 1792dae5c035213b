"""Remedies of what `rmnet.io` draws and writes, and of masks beside frames."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from remedies.table import World, row
from rmnet.io import (
    VideoWriter,
    frame_name,
    label_image,
    overlay,
    read_label_png,
    write_label_png,
)


@row("io/draw.py", "{} is {}, its labels {}; accepted: the frame that was tracked, at its own size")
def _(w: World) -> None:
    with w.refused():
        overlay(w.frames[0][::2, ::2], w.labels)
    overlay(w.frames[0], w.labels)


@row("io/draw.py", "alpha is {}; accepted: a number in [0, 1]")
def _(w: World) -> None:
    with w.refused():
        overlay(w.frames[0], w.labels, alpha=2)
    for alpha in (0, 0.3, 1):
        overlay(w.frames[0], w.labels, alpha=alpha)


@row("io/draw.py", "labels hold the id {}; accepted: 0 for background, ids above")
def _(w: World) -> None:
    with w.refused():
        overlay(w.frames[0], -w.labels)
    overlay(w.frames[0], w.labels)


@row(
    "io/label_folder.py",
    "holds the video's own images, which would be overwritten; accepted: another",
)
def _(w: World) -> None:
    for index, frame in enumerate(w.frames):
        (w.folder / "png").mkdir(exist_ok=True)
        Image.fromarray(frame).save(w.folder / "png" / f"{index}.png")
    result = w.segmenter.track(w.folder / "png", w.labels)
    with w.refused():
        result.save_masks(w.folder / "png")
    result.save_masks(w.folder / "another")


@row("io/label_folder.py", "there is no folder {}; accepted: one of label PNGs")
def _(w: World) -> None:
    result = w.segmenter.track(w.frames, w.labels)
    with w.refused():
        result.evaluate(w.folder / "truth")
    result.save_masks(w.folder / "truth")
    result.evaluate(w.folder / "truth")


@row("io/label_folder.py", "accepted: names of frames, such as {}, or as many maps as frames")
def _(w: World) -> None:
    result = w.segmenter.track(w.frames, w.labels)
    truth = w.mask("other.png").parent
    with w.refused():
        result.evaluate(truth)
    (truth / "other.png").rename(truth / f"{w.advice(chr(39) + '([0-9]+)' + chr(39))}.png")
    result.evaluate(truth)
    for path in truth.iterdir():
        path.rename(truth / "a.png")
    for name in ("b", "c", "d"):
        shutil.copy(truth / "a.png", truth / f"{name}.png")
    result.evaluate(truth)


@row(
    "io/label_map.py", "labels are {} of shape {}; accepted: integers (H, W). Write labels.astype("
)
def _(w: World) -> None:
    labels = w.labels.astype(float)
    with w.refused():
        write_label_png(w.folder / "x.png", labels)
    labels = eval(w.advice("Write (.*), if"), {"labels": labels, "np": np})
    write_label_png(w.folder / "x.png", labels)


@row("io/label_png.py", "Write COCO RLE (rmnet.export.encode_rle) or np.save instead")
def _(w: World) -> None:
    pytest.importorskip("pycocotools")
    from rmnet.export import encode_rle

    labels = np.where(w.labels == 3, 70000, 0)
    with w.refused():
        label_image(labels)
    encode_rle(labels == 70000)
    np.save(w.folder / "labels.npy", labels)


@row("io/mask_files.py", "the mask {} is also one of the frames; accepted: a file that is none.")
def _(w: World) -> None:
    mask = w.images / "mask.png"
    write_label_png(mask, w.labels)
    with w.refused():
        w.segmenter.track(w.images, mask)
    assert len(w.segmenter.track(eval(w.advice("Write ('.*?') for")), mask)) == len(w.frames)
    moved = mask.rename(w.folder / "mask.png")
    assert len(w.segmenter.track(w.images, moved)) == len(w.frames)


@row("io/mask_files.py", "the mask {} is also one of the frames; accepted: a file that is none.")
def _(w: World) -> None:
    frames = w.images.rename(w.folder / "clip [1080p]")
    write_label_png(frames / "mask.png", w.labels)
    with w.refused():
        w.track(frames, frames / "mask.png")
    w.track(eval(w.advice("Write ('.*?') for")), frames / "mask.png")
    assert len(list((w.folder / "masks").glob("*.png"))) == len(w.frames)


@row(
    "io/overlay_video.py", "write save_video(path, frames) with the frames once more, or draw while"
)
def _(w: World) -> None:
    pytest.importorskip("av")
    result, path = w.segmenter.track(iter(w.frames), w.labels), w.folder / "x.mp4"
    with w.refused():
        result.save_video(path)
    result.save_video(path, w.frames)
    for one in w.segmenter.stream(iter(w.frames), w.labels):
        one.overlay()


@row("io/overlay_video.py", "fewer {}")
def _(w: World) -> None:
    pytest.importorskip("av")
    result = w.segmenter.track(w.frames, w.labels)
    with w.refused():
        result.save_video(w.folder / "x.mp4", w.frames[:2])
    assert w.advice("(accepted: the same frames)")
    result.save_video(w.folder / "x.mp4", w.frames)


@row("io/overlay_video.py", "more {}")
def _(w: World) -> None:
    pytest.importorskip("av")
    result = w.segmenter.track(w.frames[:2], w.labels)
    with w.refused():
        result.save_video(w.folder / "x.mp4", w.frames)
    assert w.advice("(accepted: the same frames)")
    result.save_video(w.folder / "x.mp4", w.frames[:2])


def written(path: Path, frames, **options) -> None:
    with VideoWriter(path, **options) as writer:
        for frame in frames:
            writer.write(frame)


@row(
    "io/video_writer.py", "{} cannot be written: {}; accepted: a replaceable file in a folder with"
)
def _(w: World) -> None:
    pytest.importorskip("av")
    (w.folder / "x.mp4").mkdir()
    with w.refused():
        written(w.folder / "x.mp4", w.frames)
    (w.folder / "x.mp4").rmdir()
    (w.folder / "x.mp4").write_bytes(b"old")
    written(w.folder / "x.mp4", w.frames)


@row("io/video_writer.py", "Write pip install --force-reinstall --only-binary av av")
def _(w: World) -> None:
    pytest.importorskip("av")
    w.patch.setattr("av.codec.codecs_available", set())
    with w.refused():
        VideoWriter(w.folder / "x.mp4")
    w.patch.undo()
    VideoWriter(w.folder / "x.mp4")  # the PyAV of these tests is such a wheel


@row("io/video_writer.py", "{} is no kind of video to write; accepted: {}. Write {}")
def _(w: World) -> None:
    pytest.importorskip("av")
    with w.refused():
        written(w.folder / "x.avi", w.frames)
    written(eval(w.advice("Write (.*)")), w.frames)
    for suffix in w.advice(r"accepted: (.*?)\. Write").split(", "):
        written(w.folder / f"x{suffix}", w.frames)


@row(
    "io/video_writer.py", "accepted: an existing one. Write Path(folder).mkdir(parents=True) before"
)
def _(w: World) -> None:
    pytest.importorskip("av")
    folder = w.folder / "a" / "b"
    with w.refused():
        written(folder / "x.mp4", w.frames)
    eval(w.advice("Write (.*) before"), {"Path": Path, "folder": str(folder)})
    written(folder / "x.mp4", w.frames)


@row("io/video_writer.py", "frames_per_second is {}; accepted: {} to {}")
def _(w: World) -> None:
    pytest.importorskip("av")
    with w.refused():
        written(w.folder / "x.mp4", w.frames, frames_per_second=0)
    for rate in w.advice("accepted: (.*)").split(" to "):
        VideoWriter(w.folder / "x.mp4", frames_per_second=float(rate))


@row("io/video_writer.py", "Write: with VideoWriter(path) as writer: writer.write(frame)")
def _(w: World) -> None:
    pytest.importorskip("av")
    with w.refused():
        VideoWriter(w.folder / "x.mp4").write(w.frames[0])
    names = {"VideoWriter": VideoWriter, "path": w.folder / "x.mp4", "frame": w.frames[0]}
    exec(w.advice("Write: (.*)"), names)


@row("io/video_writer.py", "accepted: one size a video. Write Image.fromarray(frame).resize({})")
def _(w: World) -> None:
    pytest.importorskip("av")
    frame = w.frames[1][::2, ::2]
    with w.refused():
        written(w.folder / "x.mp4", [w.frames[0], frame])
    frame = eval(w.advice("Write (.*)"), {"Image": Image, "frame": frame})
    written(w.folder / "x.mp4", [w.frames[0], frame])


@row("io/video_writer.py", "no frame was written to {}; accepted: at least one")
def _(w: World) -> None:
    pytest.importorskip("av")
    with w.refused():
        written(w.folder / "x.mp4", [])
    written(w.folder / "x.mp4", w.frames[:1])


@row("io/video_writer.py", "seconds is {}; accepted: a finite number, or None")
def _(w: World) -> None:
    pytest.importorskip("av")
    with VideoWriter(w.folder / "x.mp4") as writer:
        with w.refused():
            writer.write(w.frames[0], np.nan)
        writer.write(w.frames[0], 0.0)
        writer.write(w.frames[1], None)


@row("io/video_writer.py", "Write pip install 'rmnet[video]', or save masks and overlays as images")
def _(w: World) -> None:
    w.without("av")
    with w.refused():
        w.segmenter.track(w.frames, w.labels).save_video(w.folder / "x.mp4")
    w.assert_extra("video", "av")
    result = w.segmenter.track(w.frames, w.labels)
    result.save_masks(w.folder / "masks")
    Image.fromarray(result[0].overlay(w.frames[0])).save(w.folder / f"{frame_name(0, None)}.png")


@row("io/whole_files.py", "{} cannot be written: {}; accepted: a writable folder with free space")
def _(w: World) -> None:
    with w.refused():
        write_label_png(w.folder / "nowhere" / "x.png", w.labels)
    assert re.search("No such file", w.message)
    write_label_png(w.folder / "x.png", w.labels)
    assert np.array_equal(read_label_png(w.folder / "x.png"), w.labels)
