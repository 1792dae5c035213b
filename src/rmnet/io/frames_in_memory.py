"""Frames from an array, a list, a generator or any other iterable."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rmnet.errors import VideoError
from rmnet.io.frames import as_frame
from rmnet.io.video_reader import AttemptedFrame, AttemptedFrames, is_video_frame


def read_iterable(frames: Iterable[object], unit_range: bool) -> AttemptedFrames:
    """Read frames in memory; those of PyAV know their times."""
    first = None
    for index, frame in enumerate(frames):
        first = _time(frame) if first is None else first
        yield _read(frame, index, first, unit_range)


def read_item(frames: Sequence[object], unit_range: bool, index: int) -> AttemptedFrame:
    """Read one frame of a sequence."""
    times = (_time(frame) for frame in frames[: index + 1])
    first = next((time for time in times if time is not None), None)
    return _read(frames[index], index, first, unit_range)


def _time(frame: object) -> float | None:
    return frame.time if is_video_frame(frame) else None


def _read(frame: object, index: int, first: float | None, unit_range: bool) -> AttemptedFrame:
    time = _time(frame)
    seconds = None if time is None or first is None else time - first
    try:
        return as_frame(frame, index=index, unit_range=unit_range), seconds
    except VideoError as error:  # an image file that cannot be read
        return error, seconds
