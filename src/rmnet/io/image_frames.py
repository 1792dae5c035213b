"""Frames from image files: one a file, or all pictures of one file."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageOps

from rmnet.errors import VideoError
from rmnet.io.frames import as_frame
from rmnet.io.image_files import (
    ANIMATED_FORMATS,
    FileLike,
    check_pixels,
    decoding,
    ends_with,
    file_name,
    open_image,
    picture_numbers,
    reading_image,
)
from rmnet.io.video_reader import AttemptedFrame, AttemptedFrames

_SHORTEST = 0.01  # s; players take durations up to this as not meant
_USUAL = 0.1  # s; and show such pictures for this long


def animation_claims(file: FileLike) -> tuple[int, float | None]:
    """Return the number of frames of an image file, and their rate by the first one's duration."""
    try:
        with reading_image(file, name="it", error=VideoError) as image:
            numbers = picture_numbers(image)
            if len(numbers) == 1:
                return 1, None
            image.seek(numbers[0])
            image.load()
            duration = _duration(image)
    except VideoError:
        return 1, None  # `read_images` will say what is wrong
    return len(numbers), None if duration is None else 1 / duration


def read_images(files: Sequence[Path | FileLike]) -> AttemptedFrames:
    """Read image files of one frame each."""
    for index in range(len(files)):
        yield read_image(files, index)


def read_image(files: Sequence[Path | FileLike], index: int) -> AttemptedFrame:
    """Read one of several image files of one frame each."""
    name = f"frame {index}, {file_name(files[index])},"
    try:
        image = open_image(files[index], name=name, error=VideoError, turn_upright=True)
    except VideoError as error:
        return error, None
    return as_frame(image, index=index), None


def read_animation(file: FileLike) -> AttemptedFrames:
    """Read the pictures of an animated GIF, PNG or WebP, or the pages of a TIFF, one by one.

    Times are seconds since the first frame; a TIFF has none. Warns about a GIF without its end.
    """
    file_text, seconds, index = file_name(file), 0.0, 0
    with reading_image(file, name=file_text, error=VideoError) as image:
        for index, number in enumerate(picture_numbers(image)):
            name = f"frame {index} of {file_text}"
            with decoding(name, VideoError):
                image.seek(number)
                check_pixels(image.width, image.height, name=name, error=VideoError)
                image.load()
                upright = ImageOps.exif_transpose(image)
            duration = _duration(image)
            yield as_frame(upright, index=index), None if duration is None else seconds
            seconds += duration or 0.0
        if image.format == "GIF" and not ends_with(file, b";"):  # its mark of the end
            warnings.warn(
                f"{file_text} ended after {index + 1} pictures; it is probably cut off",
                RuntimeWarning,
                stacklevel=2,
            )


def _duration(image: Image.Image) -> float | None:
    """Return for how many seconds players show the present picture; None in a TIFF."""
    if image.format not in ANIMATED_FORMATS:
        return None
    seconds = float(image.info.get("duration") or 0) / 1000
    return seconds if seconds > _SHORTEST else _USUAL
