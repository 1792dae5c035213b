"""A video, frame by frame, through PyAV."""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rmnet.errors import VideoError
from rmnet.io.image_files import check_pixels
from rmnet.io.video_input import VideoInput, require_pyav

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.error import FFmpegError
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
    from typing_extensions import TypeIs

# A frame, or the reason that it cannot be decoded, and its time.
AttemptedFrame: TypeAlias = tuple[NDArray[np.uint8] | VideoError, float | None]
AttemptedFrames: TypeAlias = Generator[AttemptedFrame, None, None]

_LARGEST = 2**31 - 1  # px; FFmpeg's own bound, where Pillow's limit is switched off
_SHORT = 2  # frames that may be missing at the end without a warning
_ACCEPTED = "accepted: any video that FFmpeg reads, or a folder of images"
_REMEDY = "accepted: an undamaged video. Write it again: ffmpeg -i damaged.mp4 new.mp4"


class VideoClaims(NamedTuple):
    """What the head of a video says; hints, which edit lists, damage and variable rates belie."""

    num_frames: int | None  # None where it says nothing
    frames_per_second: float | None  # mean rate
    pixel_aspect: Fraction  # width over height of a pixel, as a player shows the frame


def video_claims(video: VideoInput) -> VideoClaims:
    """Read the head of a video."""
    with _opened(video) as (container, stream, rate):
        aspect = stream.sample_aspect_ratio or Fraction(1)
        if aspect != 1:  # a video may be stored lying on its side; only its frames say so
            first = next((f for f in _frames(video, container, stream) if is_video_frame(f)), None)
            if first is not None and _turn(first)[0]:
                aspect = 1 / aspect
        return VideoClaims(stream.frames or None, rate, aspect)


def decode_video(video: VideoInput) -> AttemptedFrames:
    """Decode a video lazily, in the orientation that a player shows.

    Times are seconds since the first frame: from the timestamps, else from the rate, else None.
    Where frames are stored out of order, as B-frames are, an error comes in the place where its
    frame is stored. Warns if the video ends earlier than its file claims, or a live one breaks off.
    """
    with _opened(video) as (container, stream, rate):
        from av.error import FFmpegError

        count, first, seconds = 0, None, None
        for decoded in _frames(video, container, stream):
            try:
                if not is_video_frame(decoded):
                    raise decoded
                pixels = upright(decoded)
            except (FFmpegError, ValueError) as error:
                if video.is_live and count == 0:  # joined in the middle, before a key frame
                    continue
                bad = VideoError(
                    f"frame {count} of {video.name} cannot be decoded: {_reason(error)}; {_REMEDY}"
                )
                bad.__cause__ = error
                yield bad, None
            else:
                first = decoded.time if first is None else first
                if decoded.time is not None and first is not None:
                    seconds = decoded.time - first
                else:
                    seconds = None if rate is None else count / rate
                yield pixels, seconds
            count += 1

        # Frame count or duration alone is wrong in good files too: cut ones, or of variable rate.
        if stream.duration and stream.time_base and seconds is not None and rate:
            duration = float(stream.duration * stream.time_base)
            if count + _SHORT < stream.frames and seconds + (1 + _SHORT) / rate < duration:
                warnings.warn(
                    f"{video.name} ended after {count} frames, but claims {stream.frames} frames "
                    f"in {duration:.1f} s; it is probably cut off",
                    RuntimeWarning,
                    stacklevel=2,
                )


def decode_between(
    video: VideoInput, start: float, end: float, *, margin: float
) -> AttemptedFrames:
    """Decode the frames of some seconds of a video, from the key frame before them on.

    Not every file can be searched exactly: frames may be missing, repeated, or differ from those
    of `decode_video` because a frame that they build on was not decoded. The caller compares.

    Args:
        video: A video file.
        start: Time of the first frame wanted, in seconds since the first frame of the video.
        end: Time of the last one.
        margin: How many seconds before `start` to look for a key frame.

    Yields:
        What could be decoded, up to the first error.
    """
    with _opened(video) as (container, stream, _):
        from av.error import FFmpegError

        decoded = next(_frames(video, container, stream), None)
        if decoded is None or not is_video_frame(decoded) or not stream.time_base:
            return
        first = decoded.time
        if first is None:
            return
        try:
            container.seek(round((first + start - margin) / stream.time_base), stream=stream)
        except FFmpegError:
            return
        for decoded in _frames(video, container, stream):
            if not is_video_frame(decoded) or decoded.time is None:
                return
            seconds = decoded.time - first
            if seconds > end:
                return
            if seconds >= start:
                yield upright(decoded), seconds


def _frames(
    video: VideoInput, container: InputContainer, stream: VideoStream
) -> Iterator[VideoFrame | FFmpegError]:
    """Yield decoded frames, and the error of each packet that cannot be decoded."""
    from av.error import EOFError as EndOfFile
    from av.error import FFmpegError

    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (FFmpegError, OSError, ValueError) as error:  # the latter from file objects
            if not video.is_live:
                raise VideoError(
                    f"the rest of {video.name} cannot be read: {_reason(error)}; {_REMEDY}"
                ) from error
            warnings.warn(
                f"{video.name} broke off, which is taken as its end: {_reason(error)}",
                RuntimeWarning,
                stacklevel=2,
            )
            with suppress(FFmpegError):
                yield from _held_back(stream)
            return
        if packet is None:
            return
        try:
            yield from packet.decode()
        except EndOfFile:  # more packets than the decoder takes
            return
        except FFmpegError as error:
            yield error


def _held_back(stream: VideoStream) -> Iterator[VideoFrame]:
    """Yield the frames that the decoder still holds, with their times."""
    from av.packet import Packet

    end = Packet()  # an empty packet is the end
    end.stream = stream
    if stream.time_base is not None:
        end.time_base = stream.time_base
    yield from stream.decode(end)


def is_video_frame(value: object) -> TypeIs[VideoFrame]:
    """Say whether a value is a frame of PyAV, without importing it."""
    module = sys.modules.get("av.video.frame")
    return module is not None and isinstance(value, module.VideoFrame)


def upright(frame: VideoFrame) -> NDArray[np.uint8]:
    """Return RGB (H, W, 3), contiguous, in the orientation that a player shows."""
    pixels = cast("NDArray[np.uint8]", frame.to_ndarray(format="rgb24"))
    is_turned, flips_rows, flips_columns = _turn(frame)
    pixels = pixels.swapaxes(0, 1) if is_turned else pixels
    return np.ascontiguousarray(pixels[:: -1 if flips_rows else 1, :: -1 if flips_columns else 1])


def _turn(frame: VideoFrame) -> tuple[bool, bool, bool]:
    """Say whether rows and columns change places, and whether each is then reversed.

    FFmpeg's display matrix [[a, b, u], [c, d, v], [x, y, w]] shows the pixel (x, y) at
    (a x + c y, b x + d y); it is taken to the nearest quarter turn.

    Source: FFmpeg, libavutil/display.h.
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False, False, False
    a, b, _, c, d = (int(number) for number in np.frombuffer(bytes(matrix), np.int32)[:5])
    is_turned = abs(a) + abs(d) < abs(b) + abs(c)
    to_x, to_y = (c, b) if is_turned else (a, d)
    return is_turned, to_y < 0, to_x < 0


@contextmanager
def _opened(video: VideoInput) -> Iterator[tuple[InputContainer, VideoStream, float | None]]:
    """Open a video and find the stream that players show, with frames per second."""
    require_pyav(video.name)
    import av
    from av.error import FFmpegError
    from av.format import formats_available

    max_pixels = str(Image.MAX_IMAGE_PIXELS or _LARGEST)
    options = {
        "format_whitelist": ",".join(sorted(formats_available - video.forbidden_formats())),
        "protocol_whitelist": video.protocols,
        "max_pixels": max_pixels,
        **video.options,
    }
    file = io.BytesIO(video.file) if isinstance(video.file, bytes) else video.file
    try:
        if not isinstance(file, str) and not video.is_live:
            file.seek(0)
        container = av.open(file, "r", format=video.format, options=options, timeout=video.patience)
    except (FFmpegError, ValueError, OSError) as error:
        raise VideoError(
            f"{video.name} cannot be read as a video: {_reason(error)}; {_ACCEPTED}"
        ) from error
    with container:
        stream = _shown_stream(container, video.name)
        check_pixels(stream.width, stream.height, name=f"a frame of {video.name}", error=VideoError)
        # Frames may turn out larger than the file claims: the decoder refuses those.
        stream.codec_context.options = {"max_pixels": max_pixels}
        rate = stream.average_rate or stream.guessed_rate
        yield container, stream, float(rate) if rate else None


def _shown_stream(container: InputContainer, name: str) -> VideoStream:
    """Return the stream that players show: the default one, then the largest, then the first."""
    from av.stream import Disposition

    streams = [
        stream  # the cover picture of a song is a stream, too
        for stream in container.streams.video
        if not stream.disposition & Disposition.attached_pic
    ]
    if not streams:
        raise VideoError(f"{name} has no video stream; {_ACCEPTED}")
    known = [stream for stream in streams if stream.codec_context is not None]
    if not known:
        raise VideoError(f"the codec of {name} is not known to FFmpeg; {_ACCEPTED}")

    def preference(stream: VideoStream) -> tuple[bool, int]:
        return bool(stream.disposition & Disposition.default), stream.width * stream.height

    return max(known, key=preference)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
