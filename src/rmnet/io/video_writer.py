"""Frames into a video file that appears whole or not at all."""

from __future__ import annotations

import math
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rmnet.errors import ConfigError, FrameError, MissingDependencyError, VideoError
from rmnet.io.frames import FrameLike, as_frame
from rmnet.io.whole_files import unfinished_path

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream

_SUFFIXES = (".mp4", ".mkv", ".mov")
_TICKS = 60_000  # per second; whole for 24, 25, 30, 60 and 29.97 fps
_DEFAULT_RATE = 24.0  # frames per second
_SLOWEST = 0.001  # frames per second
_BT709 = 1  # AVCOL_*_BT709: colours of HD video; untagged, players and FFmpeg would disagree
_LIMITED = 1  # AVCOL_RANGE_MPEG: luma in [16, 235], which every player expects
_QUALITY = "18"  # crf of libx264; hard to tell from the original


class VideoWriter:
    """Writer of H.264 video (yuv420p, which every player shows); needs PyAV.

    A context manager: leaving it completes the file and moves it into place; leaving it with an
    exception removes it. For frames of odd size the last row or column is repeated, since yuv420p
    has even sizes only.

    ```python
    with VideoWriter("out.mp4", frames_per_second=25) as writer:
        writer.write(frame)
    ```
    """

    def __init__(
        self,
        path: str | Path,
        *,
        frames_per_second: float | None = None,
        pixel_aspect: Fraction = Fraction(1),
    ) -> None:
        """Check the arguments; the file is created with the first frame.

        Args:
            path: A .mp4, .mkv or .mov file; an old one is replaced.
            frames_per_second: Rate of frames written without a time; None for 24.
            pixel_aspect: Width over height at which players show a pixel.

        Raises:
            MissingDependencyError: PyAV is not installed, or lacks libx264.
            VideoError: another kind of file, or no folder to write into.
            ConfigError: the rate is out of range.
        """
        self._path = Path(path)
        _require_encoder()
        if self._path.suffix.lower() not in _SUFFIXES:
            raise VideoError(
                f"{str(path)!r} is no kind of video to write; accepted: {', '.join(_SUFFIXES)}. "
                f"Write {str(self._path.with_suffix('.mp4'))!r}"
            )
        if not self._path.parent.is_dir():
            raise VideoError(
                f"there is no folder {str(self._path.parent)!r}; accepted: an existing one. "
                "Write Path(folder).mkdir(parents=True) before"
            )
        self._rate = _DEFAULT_RATE if frames_per_second is None else float(frames_per_second)
        if not _SLOWEST <= self._rate <= _TICKS:
            raise ConfigError(
                f"frames_per_second is {frames_per_second!r}; accepted: {_SLOWEST} to {_TICKS}"
            )
        self._pixel_aspect = pixel_aspect
        # FFmpeg chooses the container by the suffix.
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

    def write(self, frame: FrameLike, seconds: float | None = None) -> None:
        """Append one frame.

        Args:
            frame: Any form of frame that `as_frame` accepts; of the first frame's size.
            seconds: Time of the frame, from any origin: the first frame's time becomes 0. A time
                not after the previous one is moved just behind it. None: one frame's duration
                after the previous one.

        Raises:
            FrameError: not a frame, or of another size than the first.
            ConfigError: `seconds` is not a finite number.
            VideoError: outside the context, or the frame cannot be encoded or written.
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
                f"by {self._size[1]}; accepted: one size a video. Write Image.fromarray(frame)"
                f".resize({self._size[::-1]})"
            )
        padding = ((0, height % 2), (0, width % 2), (0, 0))
        picture = VideoFrame.from_ndarray(np.pad(pixels, padding, mode="edge"), format="rgb24")
        picture = picture.reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
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

    def __exit__(self, kind: object, exception: BaseException | None, traceback: object) -> None:
        from av.error import FFmpegError

        self._is_open = False
        output, self._output = self._output, None
        try:
            if output is not None:
                container, stream = output
                with container:
                    if exception is None:
                        container.mux(stream.encode(None))
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
        """Return the tick at which the next frame is shown, for a time as in `write`."""
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

        container = av.open(str(self._unfinished.absolute()), "w")
        rate = Fraction(self._rate).limit_denominator(_TICKS)
        stream = container.add_stream("libx264", rate=rate, options={"crf": _QUALITY})
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        context = stream.codec_context
        context.time_base = Fraction(1, _TICKS)
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED
        context.sample_aspect_ratio = self._pixel_aspect
        return container, stream

    def _failure(self, error: Exception) -> VideoError:
        reason = getattr(error, "strerror", None) or str(error)
        return VideoError(
            f"{str(self._path)!r} cannot be written: {reason}; accepted: a replaceable file in a "
            "folder with free space"
        )


def _require_encoder() -> None:
    try:
        from av.codec import codecs_available
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "writing a video needs PyAV, which is not installed. "
            "Write pip install 'rmnet[video]', or save masks and overlays as images"
        ) from error
    if "libx264" not in codecs_available:
        raise MissingDependencyError(
            "writing a video needs libx264, which this PyAV lacks; accepted: PyAV's own wheels. "
            "Write pip install --force-reinstall --only-binary av av"
        )
