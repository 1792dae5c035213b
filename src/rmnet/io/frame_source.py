"""Frames one by one from a video, from image files, or from any iterable."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import closing
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, Union, cast

import numpy as np
import torch
from numpy.typing import NDArray

from rmnet.errors import ConfigError, FrameError, RMNetError, VideoError, shown
from rmnet.io.frames import FrameLike, says_unit_range
from rmnet.io.frames_in_memory import read_item, read_iterable
from rmnet.io.image_files import (
    ANIMATED_FORMATS,
    FileLike,
    check_binary,
    decoding,
    file_name,
    is_file_like,
    is_image,
)
from rmnet.io.image_folder import FRAME_SUFFIXES, images_in_folder, images_of_glob
from rmnet.io.image_frames import animation_claims, read_animation, read_image, read_images
from rmnet.io.video_input import (
    VideoInput,
    camera_input,
    file_input,
    is_stream_url,
    require_pyav,
    stream_input,
)
from rmnet.io.video_reader import (
    AttemptedFrame,
    AttemptedFrames,
    decode_between,
    decode_video,
    video_claims,
)

# A video in any accepted form; see `open_frames`.
FramesLike: TypeAlias = Union[
    FileLike, int, NDArray[np.uint8], torch.Tensor, Iterable[FrameLike], "FrameSource"
]

_MOST_CAMERAS = 1000  # a larger number names no camera
_ACCEPTED = (
    "a video file, a folder or glob of images, a list of image paths, frames, the address of a "
    "stream, or the number of a camera"
)
_SLOWEST, _FASTEST = 0.001, 60_000  # frames per second


@dataclass(frozen=True, slots=True, eq=False)
class FrameSource:
    """The frames of one video, read lazily; made by `open_frames`.

    Iterating yields RGB uint8 (H, W, 3), one frame at a time, and keeps none.
    """

    read: Callable[[], AttemptedFrames]  # starts a pass over the frames; see `attempted`
    num_frames: int | None = None  # if known; a video's is only what its file claims
    # What `fps` says; else the mean rate of a video file, or that of an animation's first frame.
    frames_per_second: float | None = None
    names: list[str] | None = None  # stems of image files, in order; None if two are equal
    paths: Sequence[Path] | None = None  # image files to read, in order
    reiterable: bool = True  # whether every pass starts anew; False for an iterator or a camera
    pixel_aspect: Fraction = Fraction(1)  # width over height of a pixel on a screen
    # Two short cuts to a part of the frames, of which a source has one at most; without either
    # they are read from the first on. `BackwardFrames` uses them.
    at: Callable[[int], AttemptedFrame] | None = None  # gives one of `num_frames` by its number
    between: Callable[..., AttemptedFrames] | None = None  # `decode_between` for this video

    def __reduce__(self) -> tuple[Callable[..., FrameSource | None], tuple[Any, ...]]:
        # Results hold their source, and may be sent to another process whatever that reads from:
        # what cannot be pickled, such as an open file or a generator, is None there.
        try:
            return _unpickled, (pickle.dumps([getattr(self, x.name) for x in fields(self)]),)
        except Exception:  # pickling calls the code of any class
            return type(None), ()

    def __copy__(self) -> FrameSource:
        return self

    def __deepcopy__(self, memo: object) -> FrameSource:
        return self

    def attempted(self) -> AttemptedFrames:
        """Yield each frame, or the VideoError why it cannot be decoded, and its time or None.

        Times are seconds since the first frame. What makes the rest unreadable is raised.
        """
        is_empty = True
        with closing(self.read()) as frames:
            for pair in frames:
                is_empty = False
                yield pair
        if is_empty:
            reason = "" if self.reiterable else "; an iterator gives its frames only once"
            raise VideoError(f"the video has no frames{reason}; accepted: at least one")

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        with closing(self.attempted()) as frames:
            for frame, _ in frames:
                if isinstance(frame, VideoError):
                    raise frame
                yield frame


def open_frames(
    source: FramesLike | NDArray[np.floating[Any]],
    *,
    fps: float | None = None,
    unit_range: bool = False,
) -> FrameSource:
    """Make a source of frames from any form of video.

    Args:
        source: One of

            - the path of a video file (needs PyAV), or of an image file, of which all pictures
              are frames: an animated GIF, PNG or WebP, the pages of a TIFF;
            - the content of such a file (bytes), or a binary file object. One that can seek is
              read from its beginning, as often as needed; another one once;
            - the path of a folder of images without its hidden files, or a glob of images, both in
              natural order (2 before 10); or a list or tuple of image paths;
            - a uint8 array (T, H, W, 3) or tensor (T, 3, H, W);
            - any iterable of frames that `as_frame` accepts;
            - the number of a camera of this machine, from 0, or the address of a stream
              ("rtsp://...", "http://...", "udp://...", ...), both read once through PyAV;
            - a FrameSource.
        fps: Frames per second, from which all times follow, also where the source has its own.
        unit_range: Whether arrays and tensors of floats hold [0, 1], and are accepted.
            `torchvision.tv_tensors` of floats always are.

    Returns:
        A source that reads each frame when it is needed. Images are turned by their EXIF
        orientation and videos by their display matrix. Of several streams in a video file, it is
        the one that players show.

    Raises:
        VideoError: nothing at that path, no images in it, or not a video.
        FrameError: the source is a single frame, or has no frames.
        ConfigError: `fps` is out of range.
        MissingDependencyError: a video, camera or stream without PyAV.
    """
    if fps is not None and not (
        isinstance(fps, int | float | Fraction) and _SLOWEST <= fps <= _FASTEST
    ):
        raise ConfigError(f"fps is {shown(fps)}; accepted: a number from {_SLOWEST} to {_FASTEST}")
    opened = _open(source, unit_range=unit_range)
    if fps is None:
        return opened
    return replace(
        opened,
        read=partial(_at_rate, opened.read, float(fps)),
        frames_per_second=float(fps),
        at=None if opened.at is None else partial(_one_at_rate, opened.at, float(fps)),
        between=None,  # which searches by the times of the file
    )


def _unpickled(values: bytes) -> FrameSource:
    return FrameSource(*pickle.loads(values))


def _open(source: Any, *, unit_range: bool) -> FrameSource:  # noqa: ANN401 the door
    if isinstance(source, FrameSource):
        return source
    if isinstance(source, str | os.PathLike):
        try:
            return _open_path(os.fspath(source))
        except RMNetError:
            raise
        except (OSError, ValueError, RuntimeError, re.error) as error:
            # a name that is too long, an unknown "~user", a folder without permission, ...
            reason = getattr(error, "strerror", None) or str(error)
            raise VideoError(
                f"{shown(str(source))} cannot be opened: {reason}; accepted: {_ACCEPTED}"
            ) from error
    if is_file_like(source):
        return _open_file(source)
    is_number = isinstance(source, int | np.integer) and not isinstance(source, bool)
    if is_number and 0 <= source < _MOST_CAMERAS:
        return _live(camera_input(int(source)))
    if isinstance(source, list | tuple) and source and isinstance(source[0], str | os.PathLike):
        if not all(isinstance(path, str | os.PathLike) for path in source):
            raise FrameError("the frames are a list of paths and others; accepted: one of the two")
        return _images([Path(path) for path in source])
    has_frames = isinstance(source, Iterable) or hasattr(source, "__getitem__")
    is_array = isinstance(source, np.ndarray | torch.Tensor)
    if isinstance(source, type) or not has_frames or (is_array and source.ndim != 4):
        kind = type(source).__name__
        given = f"one array of shape {tuple(source.shape)}" if is_array else f"a {kind}"
        raise FrameError(
            f"the frames are {given}; accepted: {_ACCEPTED}. Write [frame], if it is a single frame"
        )
    is_indexed = is_array or isinstance(source, Sequence)
    unit_range = unit_range or says_unit_range(source)
    return FrameSource(
        partial(read_iterable, cast("Iterable[object]", source), unit_range),
        num_frames=len(source) if isinstance(source, Sized) else None,
        reiterable=not isinstance(source, Iterator),
        at=partial(read_item, cast("Sequence[object]", source), unit_range) if is_indexed else None,
    )


def _open_path(source: str) -> FrameSource:
    if is_stream_url(source):
        return _live(stream_input(source))
    path = Path(source).expanduser()
    if path.is_dir():
        return _images(images_in_folder(path))
    if path.is_file():
        is_frame = path.suffix.lower() in FRAME_SUFFIXES
        if is_frame or is_image(path, ANIMATED_FORMATS):
            return _images([path])
        return _video(file_input(path))
    if path.is_fifo():
        return _live(file_input(path))
    if any(character in source for character in "*?["):
        return _images(images_of_glob(str(path)))
    raise VideoError(f"there is no file or folder {source!r}; accepted: {_ACCEPTED}")


def _open_file(file: FileLike) -> FrameSource:
    """Open the content of a file, or a file object."""
    with decoding(name := file_name(file), VideoError):  # it may be closed
        check_binary(file, name=name, error=VideoError)
        video = file_input(file)
    if video.is_live:
        return _live(video)
    return _animation(file) if is_image(file) else _video(video)


def _images(paths: Sequence[Path]) -> FrameSource:
    if len(paths) == 1 and animation_claims(paths[0])[0] > 1:
        return replace(_animation(paths[0]), paths=paths)
    names = [path.stem for path in paths]
    return FrameSource(
        partial(read_images, paths),
        num_frames=len(paths),
        names=names if len(set(names)) == len(names) else None,
        paths=paths,
        at=partial(read_image, paths),
    )


def _animation(file: FileLike) -> FrameSource:
    count, rate = animation_claims(file)
    read = partial(read_animation, file) if count > 1 else partial(read_images, [file])
    return FrameSource(read, num_frames=count, frames_per_second=rate)


def _video(video: VideoInput) -> FrameSource:
    claims = video_claims(video)
    return FrameSource(
        partial(decode_video, video),
        num_frames=claims.num_frames,
        frames_per_second=claims.frames_per_second,
        pixel_aspect=claims.pixel_aspect,
        between=partial(decode_between, video),
    )


def _live(video: VideoInput) -> FrameSource:
    require_pyav(video.name)
    return FrameSource(partial(decode_video, video), reiterable=False)


def _at_rate(read: Callable[[], AttemptedFrames], fps: float) -> AttemptedFrames:
    """Read frames at times that follow from a rate alone."""
    with closing(read()) as frames:
        for index, (frame, _) in enumerate(frames):
            yield frame, index / fps


def _one_at_rate(at: Callable[[int], AttemptedFrame], fps: float, index: int) -> AttemptedFrame:
    return at(index)[0], index / fps
