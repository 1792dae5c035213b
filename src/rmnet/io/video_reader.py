"""A video file, frame by frame, through PyAV."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rmnet.errors import MissingDependencyError, VideoError
from rmnet.io.image_files import check_pixels

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.error import FFmpegError
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

TimedFrames: TypeAlias = Generator[tuple[NDArray[np.uint8], float | None], None, None]
# A frame, or why it cannot be decoded.
AttemptedFrames: TypeAlias = Generator[
    tuple[NDArray[np.uint8] | VideoError, float | None], None, None
]

# These read other files, or the network, where a file tells them to.
_FOLLOWS_LINKS = frozenset(
    [
        "applehttp",
        "concat",
        "dash",
        "fifo",
        "hls",
        "image2",
        "image2pipe",
        "imf",
        "lavfi",
        "rtp",
        "rtsp",
        "sap",
        "sdp",
        "tee",
        "webm_dash_manifest",
    ]
)
_LARGEST = 2**31 - 1  # px; FFmpeg's own bound, where Pillow's limit is switched off
_SHORT = 2  # frames that a video may lack, by its own count and duration, without a word


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


def decode_video(path: Path) -> AttemptedFrames:
    """Decode a video lazily; the file is closed at the end, or when the generator is.

    Args:
        path: Video file of any pixel format.

    Yields:
        RGB uint8 (H, W, 3) as a player shows it, or the VideoError of a frame that cannot be
        decoded; and seconds since the first frame: from the timestamps, else by the rate, else
        None. Where frames are stored in another order than they are shown, as with B-frames, an
        error comes where its frame is stored.

    Raises:
        VideoError: not a video, or the file cannot be read on.
        MissingDependencyError: PyAV is not installed.

    Warns:
        RuntimeWarning: the video ended before the end that its file names.
    """
    container, stream = _open_video(path)
    from av.error import FFmpegError

    with container:
        rate = _rate(stream)
        index, first_seconds, seconds = 0, None, None
        for decoded in _frames(container, stream):
            try:
                if isinstance(decoded, FFmpegError):
                    raise decoded
                pixels = _upright(decoded)
            except (FFmpegError, VideoError) as error:
                yield _bad_frame(path, index, error), None
            else:
                seconds = None if decoded.pts is None else decoded.time
                if first_seconds is None:
                    first_seconds = seconds
                if seconds is not None and first_seconds is not None:
                    seconds -= first_seconds
                elif rate is not None:
                    seconds = index / rate
                yield pixels, seconds
            index += 1
        _warn_of_early_end(path, stream, index, seconds, rate)


def _frames(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame | FFmpegError]:
    """Frames as they are decoded, or the error of a packet that cannot be."""
    from av.error import EOFError as EndOfFile
    from av.error import FFmpegError

    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except FFmpegError as error:
            raise VideoError(
                f"{container.name!r} cannot be read on: {error.strerror}; accepted: an undamaged "
                "video. Write it anew, ffmpeg -i damaged.mp4 new.mp4"
            ) from error
        if packet is None:
            return
        try:
            yield from packet.decode()
        except EndOfFile:  # more packets than the decoder takes
            return
        except FFmpegError as error:
            yield error


def _bad_frame(path: Path, index: int, error: Exception) -> VideoError:
    reason = getattr(error, "strerror", None) or str(error)
    bad = VideoError(
        f"frame {index} of {str(path)!r} cannot be decoded: {reason}; accepted: an undamaged "
        "video. Write it anew, ffmpeg -i damaged.mp4 new.mp4"
    )
    bad.__cause__ = error
    return bad


def _upright(frame: VideoFrame) -> NDArray[np.uint8]:
    """A decoded frame as RGB (H, W, 3), as a player shows it."""
    check_pixels(frame.width, frame.height, name="it", error=VideoError)
    pixels = cast("NDArray[np.uint8]", frame.to_ndarray(format="rgb24"))
    matrix = frame.side_data.get("DISPLAYMATRIX")
    return pixels if matrix is None else _turned(pixels, np.frombuffer(bytes(matrix), np.int32))


def _warn_of_early_end(
    path: Path, stream: VideoStream, count: int, seconds: float | None, rate: float | None
) -> None:
    """Warn if both the count of frames and the duration in the file say that some are missing.

    One of them alone is wrong in good files too: cut ones, those with a variable rate.
    """
    if stream.duration is None or stream.time_base is None or seconds is None or not rate:
        return
    duration = float(stream.duration * stream.time_base)
    if count + _SHORT < stream.frames and seconds + (1 + _SHORT) / rate < duration:
        warnings.warn(
            f"{str(path)!r} ended after {count} frames; the file speaks of {stream.frames}, "
            f"{duration:.1f} s. Probably it is cut off",
            RuntimeWarning,
            stacklevel=2,
        )


def _open_video(path: Path) -> tuple[InputContainer, VideoStream]:
    """Open a video file, which the caller closes, and find its video stream."""
    try:
        import av
        from av.error import FFmpegError
        from av.format import formats_available
        from av.stream import Disposition
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"{str(path)!r} is a video, which PyAV reads, and PyAV is not installed. "
            "Write pip install 'rmnet[video]', or give a folder of images"
        ) from error
    accepted = "accepted: what FFmpeg reads, or a folder of images"
    options = {
        "format_whitelist": ",".join(sorted(formats_available - _FOLLOWS_LINKS)),
        "protocol_whitelist": "file",
        "max_pixels": str(Image.MAX_IMAGE_PIXELS or _LARGEST),
    }
    try:
        # absolute: never taken for "protocol:..."
        container = av.open(str(path.absolute()), "r", options=options)
    except (FFmpegError, ValueError) as error:
        raise VideoError(
            f"{str(path)!r} cannot be read as a video: "
            f"{getattr(error, 'strerror', None) or error}; {accepted}"
        ) from error
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:  # the cover of a song is no video
            if stream.codec_context is None:
                container.close()
                raise VideoError(f"{str(path)!r} is of a codec that is not known here; {accepted}")
            try:
                check_pixels(
                    stream.width, stream.height, name=f"a frame of {str(path)!r}", error=VideoError
                )
            except VideoError:
                container.close()
                raise
            # Frames may turn larger than the file says: the decoder refuses those.
            stream.codec_context.options = {"max_pixels": options["max_pixels"]}
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
