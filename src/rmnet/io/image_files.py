"""Image files from untrusted sources: which formats are decoded, and how large they may be."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeAlias, Union

from PIL import Image, ImageOps, TiffImagePlugin

from rmnet.errors import MaskError, RMNetError, VideoError, shown

if TYPE_CHECKING:
    from typing_extensions import TypeIs

# A file by its path, as its content, or opened in binary mode.
FileLike: TypeAlias = Union[str, "os.PathLike[str]", bytes, bytearray, memoryview, IO[bytes]]

# The content decides the format, whatever the suffix: without this list Pillow would run
# Ghostscript on PostScript in a file called .png.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
ANIMATED_FORMATS = ("GIF", "PNG", "WEBP")
_NEW_SUBFILE_TYPE = 254  # tag of TIFF
_PADDING = 64  # bytes
_SMALLER_COPY, _TRANSPARENCY_MASK = 1, 4  # bits of its value


def is_open_file(value: object) -> TypeIs[IO[bytes]]:
    """Say whether a value is a file object; whether it is binary shows when it is read."""
    return callable(getattr(value, "read", None))


def is_file_like(value: object) -> TypeIs[FileLike]:
    """Say whether a value is one of `FileLike`."""
    return isinstance(value, str | os.PathLike | bytes | bytearray | memoryview) or is_open_file(
        value
    )


def check_binary(file: FileLike, *, name: str, error: type[MaskError] | type[VideoError]) -> None:
    """Refuse a file object that gives text."""
    if is_open_file(file) and isinstance(file.read(0), str):
        raise error(
            f"{name} is a file opened as text; accepted: a binary one. Write open(path, 'rb')"
        )


def file_name(file: FileLike) -> str:
    """Name a file in a message."""
    if isinstance(file, str | os.PathLike):
        return shown(os.fspath(file))
    name = getattr(file, "name", None)  # a number, for a file made of a descriptor
    if isinstance(name, str):
        return shown(name)
    return "the file object" if is_open_file(file) else "the file in memory"


def open_image(
    file: FileLike,
    *,
    name: str,
    error: type[MaskError] | type[VideoError],
    turn_upright: bool = False,
) -> Image.Image:
    """Decode the picture of an image file in its own mode.

    Args:
        file: Path, content, or file object, read from its beginning.
        name: Subject of the error messages.
        error: Class of the errors.
        turn_upright: Whether to apply the EXIF orientation.

    Raises:
        error: The file cannot be read, is too large, or holds several pictures.
    """
    with reading_image(file, name=name, error=error) as image:
        frames = picture_numbers(image)
        if len(frames) > 1:
            raise error(
                f"{name} holds {len(frames)} pictures; accepted: one picture a file, or a video "
                "of that file alone"
            )
        if frames[0] != image.tell():
            image.seek(frames[0])
            check_pixels(image.width, image.height, name=name, error=error)
        image.load()
        if not turn_upright:
            return image
        upright = ImageOps.exif_transpose(image)
        upright.format = image.format  # which a copy lacks
        return upright


@contextmanager
def reading_image(
    file: FileLike, *, name: str, error: type[MaskError] | type[VideoError]
) -> Iterator[Image.Image]:
    """Open an image file; what its decoder raises inside the context becomes an `error`."""
    with decoding(name, error):
        check_binary(file, name=name, error=error)
        with Image.open(_seekable(file), formats=_FORMATS) as image:
            check_pixels(image.width, image.height, name=name, error=error)
            yield image


@contextmanager
def decoding(name: str, error: type[MaskError] | type[VideoError]) -> Iterator[None]:
    """Turn what decoders of images raise into an `error` with `name` as its subject."""
    try:
        yield
    except RMNetError:
        raise
    except FileNotFoundError as cause:
        raise error(f"{name} does not exist; accepted: an existing image file") from cause
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as cause:
        raise error(_too_many_pixels(name)) from cause
    except Exception as cause:  # decoders raise anything: OSError, SyntaxError, struct.error, ...
        raise error(
            f"{name} cannot be read: {' '.join(str(cause).split())}; accepted: an undamaged "
            f"{', '.join(_FORMATS[:-1])} or {_FORMATS[-1]}"
        ) from cause


def is_image(file: FileLike, formats: tuple[str, ...] = _FORMATS) -> bool:
    """Say whether the content of a file begins as an image of one of the formats does."""
    try:
        with Image.open(_seekable(file), formats=formats):
            return True
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return True
    except Exception:  # unreadable or no image: the reader of the file will say what is wrong
        return False


def ends_with(file: FileLike, mark: bytes) -> bool:
    """Say whether the last bytes of a file, padding aside, are a mark."""
    opened = _seekable(file)
    with nullcontext(opened) if is_open_file(opened) else Path(opened).open("rb") as stream:
        stream.seek(0, os.SEEK_END)
        stream.seek(max(0, stream.tell() - _PADDING))
        return stream.read().rstrip(b"\0").endswith(mark)


def picture_numbers(image: Image.Image) -> Sequence[int]:
    """Return the positions of an open image file, as `seek` takes them, that are frames.

    The second picture of a phone's JPEG (MPO), a TIFF's thumbnails and transparency masks, and the
    still image that an animated PNG shows where animation is not supported are not.
    """
    if image.format == "TIFF":
        return _pages(image)
    if image.format not in ANIMATED_FORMATS:
        return range(1)
    count = getattr(image, "n_frames", 1)
    return range(1, count) if image.info.get("default_image") and count > 1 else range(count)


def _pages(image: Image.Image) -> Sequence[int]:
    if not isinstance(image, TiffImagePlugin.TiffImageFile) or image.n_frames == 1:
        return range(1)
    pages = []
    for number in range(image.n_frames):
        image.seek(number)
        kind = image.tag_v2.get(_NEW_SUBFILE_TYPE, 0)
        if not (isinstance(kind, int) and kind & (_SMALLER_COPY | _TRANSPARENCY_MASK)):
            pages.append(number)
    image.seek(0)
    return pages or range(1)


def _seekable(file: FileLike) -> str | os.PathLike[str] | IO[bytes]:
    """Return what Pillow opens: a path, or a file object at its beginning."""
    if isinstance(file, str | os.PathLike):
        return file
    if isinstance(file, bytes | bytearray | memoryview):
        return io.BytesIO(file)
    seekable = getattr(file, "seekable", None)
    if seekable is None or not seekable():
        return io.BytesIO(file.read())
    file.seek(0)
    return file


def check_pixels(
    width: int, height: int, *, name: str, error: type[MaskError] | type[VideoError]
) -> None:
    """Refuse a picture above Pillow's limit, up to twice which Pillow itself only warns."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and width * height > limit:
        raise error(_too_many_pixels(name))


def _too_many_pixels(name: str) -> str:
    return (
        f"{name} has too many pixels; accepted: at most {Image.MAX_IMAGE_PIXELS}. "
        "Write PIL.Image.MAX_IMAGE_PIXELS = ..., if you trust it"
    )
