"""A video drawn over: every frame of a source with its objects in colour."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from rmnet.errors import ConfigError, VideoError
from rmnet.io.frame_source import FramesLike, open_frames
from rmnet.io.video_writer import VideoWriter

# From a frame, RGB uint8 (H, W, 3), to the same with objects drawn.
Draw: TypeAlias = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


def write_overlay_video(
    path: str | Path,
    frames: FramesLike | None,
    drawings: Mapping[int, Draw | None],  # by the number of the frame
    *,
    fps: float | None = None,
    is_whole: bool = True,
) -> Path:
    """Read a video again, draw on the given frames, and write them; None marks skipped frames.

    Unless `drawings` covers the whole video, other frames are left out.
    """
    source = None if frames is None else open_frames(frames, fps=fps)
    if source is None or not source.reiterable:
        raise ConfigError(
            "the frames came from a generator, camera or stream, which runs only once; write "
            "save_video(path, frames) with the frames once more, or draw while tracking with "
            "stream() and overlay()"
        )
    path, left = Path(path), dict(drawings)
    mismatch = f"frames came than the {len(drawings)} that were tracked; accepted: the same frames"
    with (
        VideoWriter(
            path,
            frames_per_second=source.frames_per_second,
            pixel_aspect=source.pixel_aspect,
        ) as writer,
        closing(source.attempted()) as attempts,
    ):
        for index, (frame, seconds) in enumerate(attempts):
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
