"""Image files from untrusted sources: which formats are decoded, and how large they may be."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageOps

from rmnet.errors import MaskError, VideoError

# The content decides the format, whatever the suffix: without this list Pillow would run
# Ghostscript on PostScript in a file called .png.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")


def open_image(
    path: str | Path,
    *,
    name: str,
    error: type[MaskError] | type[VideoError],
    turn_upright: bool = False,
) -> Image.Image:
    """Decode an image file in its own mode, or raise `error` with `name` as the subject.

    `turn_upright` applies the EXIF orientation.
    """
    try:
        with Image.open(path, formats=_FORMATS) as image:
            check_pixels(image.width, image.height, name=name, error=error)
            image.load()
            return ImageOps.exif_transpose(image) if turn_upright else image
    except error:
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
