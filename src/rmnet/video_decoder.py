"""A video file, frame by frame, through PyAV."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from rmnet.errors import MissingDependencyError, VideoError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

TimedFrames: TypeAlias = Generator[tuple[NDArray[np.uint8], float | None], None, None]


def video_claims(path: Path) -> tuple[int | None, float | None]:
    """What a video file says of itself.

    Args:
        path: Video file.

    Returns:
        The number of frames and the mean frames per second; None where it says nothing. Both are
        hints: edit lists, damage and variable rates make them wrong.

    Raises:
        VideoError: not a video.
        MissingDependencyError: PyAV is not installed.
    """
    container, stream = _open_video(path)
    with container:
        rate = _rate(stream)
        return stream.frames or None, rate


def decode_video(path: Path) -> TimedFrames:
    """Decode a video lazily; the file is closed at the end, or when the generator is.

    Args:
        path: Video file of any pixel format.

    Yields:
        RGB uint8 (H, W, 3) as a player shows it, and seconds since the first frame: from the
        timestamps, else by the rate, else None.

    Raises:
        VideoError: not a video, or a frame cannot be decoded.
        MissingDependencyError: PyAV is not installed.
    """
    container, stream = _open_video(path)
    from av.error import FFmpegError

    with container:
        rate = _rate(stream)
        frames = container.decode(stream)
        index, first_seconds = 0, None
        while True:
            try:
                frame = next(frames, None)
                if frame is None:
                    return
                pixels = cast("NDArray[np.uint8]", frame.to_ndarray(format="rgb24"))
            except FFmpegError as error:
                raise VideoError(
                    f"frame {index} of {str(path)!r} cannot be decoded: {error.strerror}; "
                    "accepted: an undamaged video. Write it anew, ffmpeg -i damaged.mp4 new.mp4"
                ) from error
            seconds = None if frame.pts is None else frame.time
            if first_seconds is None:
                first_seconds = seconds
            if seconds is not None and first_seconds is not None:
                seconds -= first_seconds
            elif rate is not None:
                seconds = index / rate
            matrix = frame.side_data.get("DISPLAYMATRIX")
            if matrix is not None:
                pixels = _turned(pixels, np.frombuffer(bytes(matrix), np.int32))
            yield pixels, seconds
            index += 1


def _open_video(path: Path) -> tuple[InputContainer, VideoStream]:
    """Open a video file, which the caller closes, and find its video stream."""
    try:
        import av
        from av.error import FFmpegError
        from av.stream import Disposition
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"{str(path)!r} is a video, which PyAV reads, and PyAV is not installed. "
            "Write pip install 'rmnet[video]', or give a folder of images"
        ) from error
    accepted = "accepted: what FFmpeg reads, or a folder of images"
    try:
        container = av.open(str(path.absolute()), "r")  # absolute: never taken for "protocol:..."
    except FFmpegError as error:
        raise VideoError(
            f"{str(path)!r} cannot be read as a video: {error.strerror}; {accepted}"
        ) from error
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:  # the cover of a song is no video
            return container, stream
    container.close()
    raise VideoError(f"{str(path)!r} has no video stream; {accepted}")


def _rate(stream: VideoStream) -> float | None:
    rate = stream.average_rate or stream.guessed_rate
    return float(rate) if rate else None


def _turned(pixels: NDArray[np.uint8], matrix: NDArray[np.int32]) -> NDArray[np.uint8]:
    """The frame as a player shows it.

    Args:
        pixels: (H, W, 3) as coded.
        matrix: (9,) of FFmpeg's display matrix [[a, b, u], [c, d, v], [x, y, w]], which shows
            the pixel (x, y) at (a x + c y, b x + d y). Taken to the nearest quarter turn.

    Returns:
        (H, W, 3) or (W, H, 3), contiguous.

    Source: FFmpeg, libavutil/display.h.
    """
    a, b, _, c, d = (int(number) for number in matrix[:5])
    to_x, to_y = a, d
    if abs(a) + abs(d) < abs(b) + abs(c):
        pixels, to_x, to_y = pixels.swapaxes(0, 1), c, b
    return np.ascontiguousarray(pixels[:: -1 if to_y < 0 else 1, :: -1 if to_x < 0 else 1])
