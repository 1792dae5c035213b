"""A video file, frame by frame, through PyAV."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager
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

# Each item is a frame, or the reason that it cannot be decoded, and its time.
AttemptedFrames: TypeAlias = Generator[
    tuple[NDArray[np.uint8] | VideoError, float | None], None, None
]

# Formats whose files can make FFmpeg read other files, or the network.
_FOLLOWS_LINKS = {
    "applehttp", "concat", "dash", "fifo", "hls", "image2", "image2pipe", "imf", "lavfi", "rtp",
    "rtsp", "sap", "sdp", "tee", "webm_dash_manifest",
}  # fmt: skip
_LARGEST = 2**31 - 1  # px; FFmpeg's own bound, where Pillow's limit is switched off
_SHORT = 2  # frames that may be missing at the end without a warning
_ACCEPTED = "accepted: any video that FFmpeg reads, or a folder of images"
_REMEDY = "accepted: an undamaged video. Write it again: ffmpeg -i damaged.mp4 new.mp4"


def video_claims(path: Path) -> tuple[int | None, float | None]:
    """Read the number of frames and their mean rate from the head of a video file.

    None where the file says nothing. Both are hints: edit lists, damage and variable rates make
    them wrong.
    """
    with _opened(path) as (_, stream, rate):
        return stream.frames or None, rate


def decode_video(path: Path) -> AttemptedFrames:
    """Decode a video lazily, in the orientation that a player shows.

    Times are seconds since the first frame: from the timestamps, else from the rate, else None.
    Where frames are stored out of order, as B-frames are, an error comes in the place where its
    frame is stored. Warns if the video ends earlier than its file claims.
    """
    with _opened(path) as (container, stream, rate):
        from av.error import FFmpegError

        count, first, seconds = 0, None, None
        for decoded in _frames(container, stream):
            try:
                if isinstance(decoded, FFmpegError):
                    raise decoded
                pixels = _upright(decoded)
            except FFmpegError as error:
                bad = VideoError(
                    f"frame {count} of {str(path)!r} cannot be decoded: {error.strerror}; {_REMEDY}"
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
                    f"{str(path)!r} ended after {count} frames, but claims {stream.frames} frames "
                    f"in {duration:.1f} s; it is probably cut off",
                    RuntimeWarning,
                    stacklevel=2,
                )


def _frames(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame | FFmpegError]:
    """Yield decoded frames, and the error of each packet that cannot be decoded."""
    from av.error import EOFError as EndOfFile
    from av.error import FFmpegError

    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except FFmpegError as error:
            raise VideoError(
                f"the rest of {container.name!r} cannot be read: {error.strerror}; {_REMEDY}"
            ) from error
        if packet is None:
            return
        try:
            yield from packet.decode()
        except EndOfFile:  # more packets than the decoder takes
            return
        except FFmpegError as error:
            yield error


def _upright(frame: VideoFrame) -> NDArray[np.uint8]:
    """Return RGB (H, W, 3), contiguous, in the orientation that a player shows.

    FFmpeg's display matrix [[a, b, u], [c, d, v], [x, y, w]] shows the pixel (x, y) at
    (a x + c y, b x + d y); it is taken to the nearest quarter turn.

    Source: FFmpeg, libavutil/display.h.
    """
    pixels = cast("NDArray[np.uint8]", frame.to_ndarray(format="rgb24"))
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return pixels
    a, b, _, c, d = (int(number) for number in np.frombuffer(bytes(matrix), np.int32)[:5])
    to_x, to_y = a, d
    if abs(a) + abs(d) < abs(b) + abs(c):
        pixels, to_x, to_y = pixels.swapaxes(0, 1), c, b
    return np.ascontiguousarray(pixels[:: -1 if to_y < 0 else 1, :: -1 if to_x < 0 else 1])


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream, float | None]]:
    """Open a video file and find its video stream, with frames per second."""
    try:
        import av
        from av.error import FFmpegError
        from av.format import formats_available
        from av.stream import Disposition
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"reading the video {str(path)!r} needs PyAV, which is not installed. "
            "Write pip install 'rmnet[video]', or give a folder of images"
        ) from error
    name, max_pixels = str(path), str(Image.MAX_IMAGE_PIXELS or _LARGEST)
    options = {
        "format_whitelist": ",".join(sorted(formats_available - _FOLLOWS_LINKS)),
        "protocol_whitelist": "file",
        "max_pixels": max_pixels,
    }
    try:
        # absolute: never taken for "protocol:..."
        container = av.open(str(path.absolute()), "r", options=options)
    except (FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise VideoError(f"{name!r} cannot be read as a video: {reason}; {_ACCEPTED}") from error
    with container:
        for stream in container.streams.video:
            if not stream.disposition & Disposition.attached_pic:  # the cover picture of a song
                break
        else:
            raise VideoError(f"{name!r} has no video stream; {_ACCEPTED}")
        if stream.codec_context is None:
            raise VideoError(f"the codec of {name!r} is not known to FFmpeg; {_ACCEPTED}")
        check_pixels(stream.width, stream.height, name=f"a frame of {name!r}", error=VideoError)
        # Frames may turn out larger than the file claims: the decoder refuses those.
        stream.codec_context.options = {"max_pixels": max_pixels}
        rate = stream.average_rate or stream.guessed_rate
        yield container, stream, float(rate) if rate else None
