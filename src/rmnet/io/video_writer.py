"""Frames into a video file that appears whole or not at all."""

from __future__ import annotations

import math
import warnings
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, cast

import numpy as np

from rmnet.errors import ConfigError, FrameError, MissingDependencyError, VideoError
from rmnet.io.frames import as_frame
from rmnet.io.saving import unfinished_path

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream

_SUFFIXES = (".mp4", ".mkv", ".mov")
_TICKS = 60_000  # a second; whole for 24, 25, 30, 60 and 29.97 fps, and MPEG-4 takes no 90000
_SLOWEST = 0.001  # frames a second
_BT709 = 1  # AVCOL_*_BT709: colours of HD video; untagged, players and FFmpeg would disagree
_X264_QUALITY = "18"  # crf; hard to tell from the original
_MPEG4_QUANTISERS = (2, 4)  # the same for MPEG-4, of 1 to 31
_LIMITED = 1  # AVCOL_RANGE_MPEG: luma in [16, 235], what every player expects


class VideoWriter:
    """Writes H.264 (yuv420p, which every player shows); needs PyAV.

    A context manager. Leaving it finishes the file and moves it into place; leaving it by an
    exception removes what was written. Frames of odd size get their last row or column twice,
    since yuv420p has even sizes only.

    ```python
    with VideoWriter("out.mp4", frames_per_second=25) as writer:
        writer.write(frame)
    ```
    """

    def __init__(self, path: str | Path, *, frames_per_second: float = 24.0) -> None:
        """Check everything; the file is begun with the first frame.

        Args:
            path: A .mp4, .mkv or .mov; an old file is replaced.
            frames_per_second: Rate of frames that are written without their time.

        Raises:
            MissingDependencyError: PyAV is not installed.
            VideoError: another kind of file, or no folder to write into.
            ConfigError: the rate is not a number above 0.
        """
        self._path = Path(path)
        self._encoder = _find_encoder()
        if self._path.suffix.lower() not in _SUFFIXES:
            raise VideoError(
                f"{str(path)!r} is no kind of video to write; accepted: {', '.join(_SUFFIXES)}. "
                f"Write {str(self._path.with_suffix('.mp4'))!r}"
            )
        if not self._path.parent.is_dir():
            raise VideoError(
                f"there is no folder {str(self._path.parent)!r} to write {self._path.name!r} into; "
                "accepted: an existing one. Write Path(folder).mkdir(parents=True) before"
            )
        if not _SLOWEST <= frames_per_second <= _TICKS:
            raise ConfigError(
                f"frames_per_second is {frames_per_second!r}; accepted: {_SLOWEST} to {_TICKS}"
            )
        self._rate = float(frames_per_second)
        # FFmpeg knows by the suffix what to write.
        self._unfinished = unfinished_path(self._path, suffix=self._path.suffix)
        self._output: tuple[OutputContainer, VideoStream] | None = None
        self._is_open = False
        self._size = (0, 0)  # height, width of the frames
        self._num_frames = 0
        self._origin = 0.0  # s; the caller's time of the first frame, which is 0 in the file
        self._last_time, self._last_tick = 0.0, -1  # s and ticks since then

    def __enter__(self) -> VideoWriter:
        self._is_open = True
        return self

    def write(self, frame: object, seconds: float | None = None) -> None:
        """Append one frame.

        Args:
            frame: As `rmnet.io.frames.as_frame` takes it; all of a video have one size.
            seconds: Its time, counted from where the caller likes; the first frame's becomes 0. A
                time not after the previous one is moved just behind it. None: a frame's duration
                after the previous one.

        Raises:
            FrameError: not a frame, or of another size than the first.
            ConfigError: `seconds` is not a finite number.
            VideoError: outside of `with`, or it cannot be encoded or written.
        """
        from av.error import FFmpegError
        from av.video.frame import VideoFrame
        from av.video.reformatter import ColorRange, Colorspace

        if not self._is_open:
            raise VideoError(
                "a frame came outside of the context; accepted: inside. "
                "Write: with VideoWriter(path) as writer: writer.write(frame)"
            )
        pixels = as_frame(frame, index=self._num_frames)
        height, width = pixels.shape[:2]
        if self._num_frames > 0 and (height, width) != self._size:
            raise FrameError(
                f"frame {self._num_frames} is {height} by {width} after frames of {self._size[0]} "
                f"by {self._size[1]}; accepted: one size a video. Write "
                f"Image.fromarray(frame).resize(({self._size[1]}, {self._size[0]}))"
            )
        padding = ((0, height % 2), (0, width % 2), (0, 0))
        picture = VideoFrame.from_ndarray(np.pad(pixels, padding, mode="edge"), format="rgb24")
        picture = picture.reformat(
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
        )
        picture.pts, picture.time_base = self._advance(seconds), Fraction(1, _TICKS)
        picture.duration = round(_TICKS / self._rate)
        try:
            if self._output is None:
                self._size = (height, width)
                self._output = self._begin(picture.height, picture.width)
            container, stream = self._output
            container.mux(stream.encode(picture))
        except FFmpegError as error:
            raise self._failure(error) from error
        self._num_frames += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        from av.error import FFmpegError

        self._is_open = False
        output, self._output = self._output, None
        try:
            if output is not None:
                container, stream = output
                try:
                    if exception is None:
                        container.mux(stream.encode(None))
                finally:
                    container.close()
                if exception is None:
                    self._unfinished.replace(self._path)
        except (FFmpegError, OSError) as error:
            if exception is None:  # else the caller's own exception is the one to see
                raise self._failure(error) from error
        finally:
            with suppress(OSError):
                self._unfinished.unlink(missing_ok=True)
        if output is None and exception is None:
            raise VideoError(f"no frame was written to {str(self._path)!r}; accepted: at least one")

    def _advance(self, seconds: float | None) -> int:
        """The tick at which the next frame is shown, for a time as `write` takes it."""
        if seconds is not None and not math.isfinite(seconds):
            raise ConfigError(f"seconds is {seconds!r}; accepted: a finite number, or None")
        if self._last_tick < 0:
            self._origin = seconds or 0.0
        elif seconds is None:
            self._last_time += 1 / self._rate
        else:
            self._last_time = max(self._last_time, seconds - self._origin)
        self._last_tick = max(self._last_tick + 1, round(self._last_time * _TICKS))
        return self._last_tick

    def _begin(self, height: int, width: int) -> tuple[OutputContainer, VideoStream]:
        import av

        codec, options = self._encoder
        container = av.open(str(self._unfinished.absolute()), "w")
        rate = Fraction(self._rate).limit_denominator(_TICKS)
        stream = cast("VideoStream", container.add_stream(codec, rate=rate, options=options))
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        context = stream.codec_context
        context.time_base = Fraction(1, _TICKS)
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED
        if codec == "mpeg4":
            context.qmin, context.qmax = _MPEG4_QUANTISERS
        return container, stream

    def _failure(self, error: Exception) -> VideoError:
        reason = getattr(error, "strerror", None) or str(error)
        return VideoError(
            f"{str(self._path)!r} cannot be written: {reason}; accepted: a file that may be "
            "replaced, in a folder with room"
        )


def _find_encoder() -> tuple[str, dict[str, str]]:
    """Name and options of the encoder."""
    try:
        from av.codec import codecs_available
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "writing a video needs PyAV, which is not installed. "
            "Write pip install 'rmnet[video]', or save masks and overlays as images"
        ) from error
    if "libx264" in codecs_available:
        return "libx264", {"crf": _X264_QUALITY}
    warnings.warn(
        "this PyAV is built without libx264: the video becomes MPEG-4 part 2, which is larger and "
        "which browsers do not play",
        RuntimeWarning,
        stacklevel=3,
    )
    return "mpeg4", {}
