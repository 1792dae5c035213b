"""Image files of anybody's: which formats are decoded, and how large they may be."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from rmnet.errors import MaskError, VideoError

# A file is what its bytes say, whatever its suffix: without this list Pillow would run Ghostscript
# on PostScript that is called .png.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")


def open_image(
    path: str | Path, *, name: str, error: type[MaskError] | type[VideoError]
) -> Image.Image:
    """Decode an image file, in the mode that it has.

    Args:
        path: The file.
        name: What the errors call it.
        error: What to raise.

    Returns:
        The decoded image; the file is closed.

    Raises:
        MaskError, VideoError: no such file, not an image, damaged, or above Pillow's size limit.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            check_pixels(image.width, image.height, name=name, error=error)
            image.load()
            return image
    except error:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as cause:
        raise error(_too_many(name)) from cause
    except Exception as cause:  # decoders raise what they meet: OSError, SyntaxError, struct.error
        raise error(
            f"{name} cannot be read: {' '.join(str(cause).split())}; accepted: an undamaged "
            f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        ) from cause


def check_pixels(
    width: int, height: int, *, name: str, error: type[MaskError] | type[VideoError]
) -> None:
    """Refuse a picture that is larger than Pillow's limit, before it is decoded.

    Pillow itself only warns up to twice that.
    """
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and width * height > limit:
        raise error(_too_many(name))


def _too_many(name: str) -> str:
    return (
        f"{name} has too many pixels; accepted: at most {Image.MAX_IMAGE_PIXELS}. "
        "Write PIL.Image.MAX_IMAGE_PIXELS = ..., if you trust it"
    )
