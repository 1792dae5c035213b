"""Frames one by one from a video, from image files, or from whatever yields them."""

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
from PIL import Image, ImageOps

from rmnet.errors import FrameError, RMNetError, VideoError, shown
from rmnet.io.frames import as_frame
from rmnet.io.image_files import open_image
from rmnet.io.video_reader import AttemptedFrames, TimedFrames, decode_video, video_claims

# What a video may be given as; see `open_frames`.
FramesLike: TypeAlias = Union[
    str, Path, NDArray[np.uint8], torch.Tensor, Iterable[Any], "FrameSource"
]

_IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
_ACCEPTED = "a video file, a folder or glob of images, a list of image paths, or frames"


@dataclass(frozen=True, slots=True, eq=False)
class FrameSource:
    """Where frames come from; `open_frames` makes it.

    Iterating gives RGB uint8 (H, W, 3), one frame at a time, and keeps none.

    Attributes:
        read: Starts a pass over pairs of frame, or why it cannot be decoded, and time.
        num_frames: Frames to come, if known. Of a video it is what the file claims: a hint.
        frames_per_second: Mean rate; known of videos only.
        names: Stems of image files, in order; None of other frames, and where two are the same.
        paths: Image files, in order; None of other frames.
        reiterable: Whether every pass starts anew; False of an iterator, whose frames come once.
    """

    read: Callable[[], AttemptedFrames]
    num_frames: int | None = None
    frames_per_second: float | None = None
    names: list[str] | None = None
    paths: Sequence[Path] | None = None
    reiterable: bool = True

    def __post_init__(self) -> None:
        for name in self.names or ():  # masks are written under these names
            if Path(name).name != name or "\0" in name:
                raise VideoError(f"a frame is called {name!r}; accepted: names without a folder")

    def timed(self) -> TimedFrames:
        """Go through the frames with their times.

        Yields:
            RGB uint8 (H, W, 3), and the seconds since the first frame; None where nothing tells.

        Raises:
            VideoError: a frame cannot be read, or there is none.
            FrameError: something is no frame; see `rmnet.io.frames.as_frame`.
        """
        with closing(self.attempted()) as frames:
            for frame, seconds in frames:
                if isinstance(frame, VideoError):
                    raise frame
                yield frame, seconds

    def attempted(self) -> AttemptedFrames:
        """As `timed`, but a frame that cannot be decoded comes as its error, and then the next.

        Raises:
            VideoError: the file itself cannot be read on, or there is no frame.
            FrameError: something is no frame; see `rmnet.io.frames.as_frame`.
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
        with closing(self.timed()) as frames:
            for frame, _ in frames:
                yield frame


def open_frames(source: Any) -> FrameSource:  # noqa: ANN401 the door of the library
    """Make a source of frames from what a caller has.

    Args:
        source: Path of a video file (needs PyAV); path of a folder of images, hidden files apart,
            or glob of images, both in natural order (2 before 10); list or tuple of image paths;
            uint8 array (T, H, W, 3) or tensor (T, 3, H, W); any iterable of frames, each as
            `rmnet.io.frames.as_frame` takes them; or a FrameSource, given back as it is.

    Returns:
        A source that reads frames when they are asked for. Images are turned by their EXIF
        orientation and videos by their display matrix.

    Raises:
        VideoError: nothing at that path, no images in it, or not a video.
        FrameError: the source is one frame, or nothing that has frames.
        MissingDependencyError: a video file without PyAV.
    """
    if isinstance(source, FrameSource):
        return source
    if isinstance(source, str | Path):
        return _open_path(source)
    if isinstance(source, list | tuple) and source and isinstance(source[0], str | Path):
        strangers = [one for one in source if not isinstance(one, str | Path)]
        if strangers:
            raise FrameError(
                f"the list of image paths holds a {type(strangers[0]).__name__}; accepted: paths, "
                "or frames"
            )
        return _image_source([Path(path) for path in source])
    if isinstance(source, np.ndarray | torch.Tensor) and source.ndim != 4:
        raise FrameError(
            f"the frames are one array of shape {tuple(source.shape)}; accepted: {_ACCEPTED}. "
            "Write [frame], if it is a single frame"
        )
    if isinstance(source, type) or not (
        isinstance(source, Iterable) or hasattr(source, "__getitem__")
    ):
        raise FrameError(
            f"the frames are a {type(source).__name__}; accepted: {_ACCEPTED}. "
            "Write [frame], if it is a single frame"
        )
    return FrameSource(
        partial(_read_iterable, source),
        num_frames=len(source) if isinstance(source, Sized) else None,
        reiterable=not isinstance(source, Iterator),
    )


def _open_path(source: str | Path) -> FrameSource:
    try:
        return _open_existing(source)
    except RMNetError:
        raise
    except (OSError, ValueError, RuntimeError, re.error) as error:
        # a name that is too long, an unknown "~user", a folder that may not be read, ...
        reason = getattr(error, "strerror", None) or str(error)
        raise VideoError(
            f"{shown(str(source))} cannot be opened: {reason}; accepted: {_ACCEPTED}"
        ) from error


def _open_existing(source: str | Path) -> FrameSource:
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
    if path.is_file():
        if path.suffix.lower() in _IMAGE_SUFFIXES:
            return _image_source([path])
        num_frames, rate = video_claims(path)
        return FrameSource(
            partial(decode_video, path), num_frames=num_frames, frames_per_second=rate
        )
    if any(character in str(source) for character in "*?["):
        matches = glob.glob(str(path), recursive=True)  # noqa: PTH207 Path.glob takes no root
        images = [Path(match) for match in matches if Path(match).is_file()]
        if not images:
            raise VideoError(f"no file matches {str(source)!r}; accepted: a glob of images")
        return _image_source(sorted(images, key=_natural_order))
    raise VideoError(f"there is no file or folder {str(source)!r}; accepted: {_ACCEPTED}")


def _natural_order(path: Path) -> tuple[list[str | int], str]:
    """A sorting key that takes digits as numbers; names apart from leading zeros tie otherwise."""
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
            image = _upright(open_image(path, name=name, error=VideoError), name)
        except VideoError as error:
            yield error, None
        else:
            yield as_frame(image, index=index), None


def _upright(image: Image.Image, name: str) -> Image.Image:
    """The image as its EXIF orientation says."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception as error:  # whatever damaged EXIF provokes
        raise VideoError(
            f"{name} cannot be read: its EXIF is damaged ({error}); accepted: undamaged images"
        ) from error
