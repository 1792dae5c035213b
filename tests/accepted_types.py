"""What the types of the public doors accept and refuse, for pyright; nothing here runs.

A line marked `pyright: ignore` must be refused: an ignore without an error is itself an error.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from rmnet import FrameSegmentation, FramesLike, RMNetSegmenter, TrackingSession, VideoSegmentation
from rmnet.io import FrameLike, FrameSource, VideoWriter, open_frames


def accepted_videos(
    segmenter: RMNetSegmenter, mask: Path, array: NDArray[np.uint8], file: BinaryIO
) -> None:
    """Videos of every form."""

    def camera() -> Iterator[NDArray[np.uint8]]:
        yield array

    segmenter.track("dog.mp4", mask)
    segmenter.track(Path("frames"), mask)
    segmenter.track(0, mask)
    segmenter.track("rtsp://camera/1", mask)
    segmenter.track(b"content", mask)
    segmenter.track(file, mask)
    segmenter.track(io.BytesIO(), mask)
    segmenter.track(array, mask)
    segmenter.track([array, array], mask)
    segmenter.track(torch.zeros(2, 3, 4, 5, dtype=torch.uint8), mask)
    segmenter.track([Path("a.png"), Path("b.png")], mask)
    segmenter.track(["a.png", "b.png"], mask)
    segmenter.track([Image.new("RGB", (4, 5))], mask)
    segmenter.track(camera(), mask)
    segmenter.track(open_frames("frames", fps=25), mask)
    segmenter.stream(open_frames(array / 255, unit_range=True), mask)
    source: FrameSource = open_frames([b"a", b"b"])
    frames: FramesLike = source
    segmenter.track(frames, mask)


def accepted_frames(
    session: TrackingSession, result: FrameSegmentation, array: NDArray[np.uint8], file: BinaryIO
) -> None:
    """Frames of every form."""
    image = Image.new("RGB", (4, 5))
    forms: list[FrameLike] = [array, torch.zeros(3, 4, 5), image, "a.png", Path("a.png"), b"", file]
    for frame in forms:
        session.step(frame)
        result.overlay(frame)
        with VideoWriter("o.mp4") as writer:
            writer.write(frame)


def refused(
    segmenter: RMNetSegmenter,
    session: TrackingSession,
    result: FrameSegmentation,
    video: VideoSegmentation,
    mask: Path,
) -> None:
    """What is neither a video nor a frame."""
    segmenter.track(3.14, mask)  # pyright: ignore[reportArgumentType]
    segmenter.track(object(), mask)  # pyright: ignore[reportArgumentType]
    segmenter.track(None, mask)  # pyright: ignore[reportArgumentType]
    segmenter.track([1.5, 2.5], mask)  # pyright: ignore[reportArgumentType]
    segmenter.track([object()], mask)  # pyright: ignore[reportArgumentType]
    segmenter.track(Image.new("RGB", (4, 5)), mask)  # pyright: ignore[reportArgumentType]
    segmenter.stream(3.14, mask)  # pyright: ignore[reportArgumentType]
    segmenter.track("dog.mp4", object())  # pyright: ignore[reportArgumentType]
    session.step(3.14)  # pyright: ignore[reportArgumentType]
    session.step(7)  # pyright: ignore[reportArgumentType]
    session.step([[1, 2, 3]])  # pyright: ignore[reportArgumentType]
    result.overlay(object())  # pyright: ignore[reportArgumentType]
    video.save_video("o.mp4", 3.14)  # pyright: ignore[reportArgumentType]
    video.save_video("o.mp4", fps="25")  # pyright: ignore[reportArgumentType]
