"""A video drawn over: every frame of a source with its objects in colour."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from rmnet.errors import ConfigError, VideoError
from rmnet.io.frame_source import FrameSource
from rmnet.io.video_writer import VideoWriter

# From a frame, RGB uint8 (H, W, 3), to the same with objects drawn.
Draw: TypeAlias = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


def write_overlay_video(
    path: str | Path,
    source: FrameSource | None,
    drawings: Mapping[int, Draw | None],  # by the number of the frame
    *,
    is_whole: bool = True,
) -> Path:
    """Read a video again, draw on the given frames, and write them; None marks skipped frames.

    Unless `drawings` covers the whole video, other frames are left out.
    """
    if source is None or not source.reiterable:
        raise ConfigError(
            "the frames came from a generator, which runs only once; write save_video(path, frames)"
            " with the frames once more, or draw while tracking with stream() and overlay()"
        )
    path, left = Path(path), dict(drawings)
    mismatch = f"frames came than the {len(drawings)} that were tracked; accepted: the same frames"
    with (
        VideoWriter(path, frames_per_second=source.frames_per_second) as writer,
        closing(source.attempted()) as frames,
    ):
        for index, (frame, seconds) in enumerate(frames):
            if index not in left:
                if is_whole:
                    raise ConfigError(f"more {mismatch}")
                continue
            draw = left.pop(index)
            if not isinstance(frame, VideoError):
                writer.write(frame if draw is None else draw(frame), seconds)
            elif draw is not None:
                raise frame
            # A skipped frame is not written: the frame before it is shown longer.
            if not left and not is_whole:
                break
        if left:
            raise ConfigError(f"fewer {mismatch}")
    return path
