"""Frames one by one from a video, from image files, or from any iterable."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias, Union

import numpy as np
import torch
from numpy.typing import NDArray

from rmnet.errors import FrameError, RMNetError, VideoError, shown
from rmnet.io.frames import as_frame
from rmnet.io.image_files import open_image
from rmnet.io.video_reader import AttemptedFrames, decode_video, video_claims

# A video in any accepted form; see `open_frames`.
FramesLike: TypeAlias = Union[
    str, Path, NDArray[np.uint8], torch.Tensor, Iterable[Any], "FrameSource"
]

_IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
_ACCEPTED = "a video file, a folder or glob of images, a list of image paths, or frames"


@dataclass(frozen=True, slots=True, eq=False)
class FrameSource:
    """The frames of one video, read lazily; made by `open_frames`.

    Iterating yields RGB uint8 (H, W, 3), one frame at a time, and keeps none.

    """

    read: Callable[[], AttemptedFrames]  # starts a pass over the frames; see `attempted`
    num_frames: int | None = None  # if known; a video's is only what its file claims
    frames_per_second: float | None = None  # mean rate of a video file
    names: list[str] | None = None  # stems of image files, in order; None if two are equal
    paths: Sequence[Path] | None = None  # image files, in order
    reiterable: bool = True  # whether every pass starts anew; False for an iterator

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


def open_frames(source: Any) -> FrameSource:  # noqa: ANN401 the door of the library
    """Make a source of frames from any form of video.

    Args:
        source: Path of a video file (needs PyAV); path of a folder of images without its hidden
            files, or a glob of images, both in natural order (2 before 10); list or tuple of
            image paths; uint8 array (T, H, W, 3) or tensor (T, 3, H, W); any iterable of frames
            that `as_frame` accepts; or a FrameSource, returned as it is.

    Returns:
        A source that reads each frame when it is needed. Images are turned by their EXIF
        orientation and videos by their display matrix.

    Raises:
        VideoError: nothing at that path, no images in it, or not a video.
        FrameError: the source is a single frame, or has no frames.
        MissingDependencyError: a video file without PyAV.
    """
    if isinstance(source, FrameSource):
        return source
    if isinstance(source, str | Path):
        try:
            return _open_path(source)
        except RMNetError:
            raise
        except (OSError, ValueError, RuntimeError, re.error) as error:
            # a name that is too long, an unknown "~user", a folder without permission, ...
            reason = getattr(error, "strerror", None) or str(error)
            raise VideoError(
                f"{shown(str(source))} cannot be opened: {reason}; accepted: {_ACCEPTED}"
            ) from error
    if isinstance(source, list | tuple) and source and isinstance(source[0], str | Path):
        if not all(isinstance(path, str | Path) for path in source):
            raise FrameError("the frames are a list of paths and others; accepted: one of the two")
        return _image_source([Path(path) for path in source])
    has_frames = isinstance(source, Iterable) or hasattr(source, "__getitem__")
    is_array = isinstance(source, np.ndarray | torch.Tensor)
    if isinstance(source, type) or not has_frames or (is_array and source.ndim != 4):
        kind = type(source).__name__
        given = f"one array of shape {tuple(source.shape)}" if is_array else f"a {kind}"
        raise FrameError(
            f"the frames are {given}; accepted: {_ACCEPTED}. Write [frame], if it is a single frame"
        )
    return FrameSource(
        partial(_read_iterable, source),
        num_frames=len(source) if isinstance(source, Sized) else None,
        reiterable=not isinstance(source, Iterator),
    )


def _open_path(source: str | Path) -> FrameSource:
    path = Path(source).expanduser()
    if path.is_dir():
        images = [file for file in path.iterdir() if file.suffix.lower() in _IMAGE_SUFFIXES]
        images = sorted((file for file in images if file.name[0] != "."), key=_natural_order)
        if not images:
            raise VideoError(
                f"the folder {str(source)!r} holds no images; accepted: {', '.join(_IMAGE_SUFFIXES)}"
            )
        for one, next_one in pairwise(images):
            if one.stem == next_one.stem:  # such as 00000.jpg and its mask 00000.png
                raise VideoError(
                    f"the folder {str(source)!r} holds both {one.name} and {next_one.name}; "
                    f"accepted: one image a frame. Write {str(path / ('*' + one.suffix))!r}"
                )
        return _image_source(images)
    if path.is_file() and path.suffix.lower() in _IMAGE_SUFFIXES:
        return _image_source([path])
    if path.is_file():
        num_frames, rate = video_claims(path)
        read = partial(decode_video, path)
        return FrameSource(read, num_frames=num_frames, frames_per_second=rate)
    if any(character in str(source) for character in "*?["):
        matches = glob.glob(str(path), recursive=True)  # noqa: PTH207 Path.glob takes no root
        images = [Path(match) for match in matches if Path(match).is_file()]
        if not images:
            raise VideoError(f"no file matches {str(source)!r}; accepted: a glob of images")
        return _image_source(sorted(images, key=_natural_order))
    raise VideoError(f"there is no file or folder {str(source)!r}; accepted: {_ACCEPTED}")


def _natural_order(path: Path) -> tuple[list[str | int], str]:
    """Return a sorting key that reads digits as numbers; names like 1 and 01 are told apart last."""
    pieces = re.split(r"(\d+)", str(path.with_suffix("")).casefold())
    return [int(piece) if piece.isdecimal() else piece for piece in pieces], str(path)


def _image_source(paths: Sequence[Path]) -> FrameSource:
    names = [path.stem for path in paths]
    return FrameSource(
        partial(_read_images, paths),
        num_frames=len(paths),
        names=names if len(set(names)) == len(names) else None,
        paths=paths,
    )


def _read_iterable(frames: Iterable[object]) -> AttemptedFrames:
    for index, frame in enumerate(frames):
        yield as_frame(frame, index=index), None


def _read_images(paths: Sequence[Path]) -> AttemptedFrames:
    for index, path in enumerate(paths):
        name = f"frame {index}, {str(path)!r},"
        try:
            image = open_image(path, name=name, error=VideoError, turn_upright=True)
        except VideoError as error:
            yield error, None
        else:
            yield as_frame(image, index=index), None
