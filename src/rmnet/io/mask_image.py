"""Masks in images: what the pixels of each mode of Pillow say about objects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rmnet.errors import MaskError
from rmnet.io.image_files import open_image
from rmnet.io.label_map import as_binary

_LOSSY = ("JPEG", "MPO")
# How images of other modes become ones that are read; RGB for those not listed.
_CONVERTED = {"LAB": "getchannel(0)", "La": 'convert("LA")', "RGBa": 'convert("RGBA")'}
_DARK = 16  # of 255; a palette's black may be that of a JPEG
_NEARLY_GREY = 4  # of 255; how far the channels of grey may differ after lossy compression


def image_labels(
    source: str | Path | Image.Image, object_ids: Sequence[int] | None = None
) -> NDArray[Any]:
    """Take the mask (H, W) out of an image or its file.

    A file is turned by its EXIF orientation; an image is read as it is.

    Args:
        source: Path, or image of mode P, PA, L, LA, 1, I;16, I, F, RGB or RGBA.
        object_ids: The ids that the caller chooses from the map, if any.

    Returns:
        bool for a binary mask: 1 bit, floats of 0 and 1, white on black, or 0 and 255 without a
        palette. Else ids: uint8, uint16 or int32.

    Raises:
        MaskError: it cannot be read, is coloured, or is softened; see `as_binary`; or its palette
            shows that index 0 is not the background, and no ids were chosen.
    """
    if isinstance(source, Image.Image):
        name, image = "the mask", source
    else:
        name = f"the mask {str(source)!r}"
        image = open_image(source, name=name, error=MaskError, turn_upright=True)
    pixels = _decoded(image, name)
    if image.mode in ("P", "PA"):
        return _palette_labels(pixels, image, object_ids, name)
    lossy = image.format in _LOSSY
    if pixels.ndim == 3:
        return colour_mask(pixels, name=name, lossy=lossy)
    if image.mode == "F":
        return float_mask(pixels, name=name, array="np.asarray(mask)")
    return as_binary(pixels, object_ids=object_ids, lossy=lossy, name=name)


def colour_mask(
    pixels: NDArray[np.uint8], *, name: str = "the mask", lossy: bool = False
) -> NDArray[Any]:
    """Return a white-on-black image (H, W, 3 or 4) as bool (H, W), or as uint8 zeros if black.

    Transparent pixels are background. Where all pixels have one colour, alpha alone is the mask.
    """
    array = "np.asarray(mask)"
    colours = pixels[..., :3]
    if pixels.shape[2] == 4 and pixels[..., 3].min() < pixels[..., 3].max():
        alpha = pixels[..., 3]
        if (colours == colours[0, 0]).all():
            colours = np.stack([alpha] * 3, axis=2)
        else:
            colours = np.where(alpha[..., None] > 127, colours, 0)
        remedy = f"Write {array}[..., 3] > 127, if the object is what is not transparent"
    else:
        remedy = (
            "Write np.unique(np.asarray(mask)[..., :3].reshape(-1, 3), axis=0, "
            "return_inverse=True)[1].reshape(np.asarray(mask).shape[:2]), if each colour is an "
            "object and black the background"
        )
    grey = colours[..., 1]
    spread = colours.max(axis=2).astype(np.int16) - colours.min(axis=2)
    if not colours.any():
        return np.zeros(grey.shape, np.uint8)
    if spread.max() <= _NEARLY_GREY:
        mask = as_binary(grey, name=name, lossy=lossy)
        if mask.dtype == np.bool_:
            return mask
        remedy = f"Write {array}[..., 0], if the values are ids"
    mode = "RGB" if pixels.shape[2] == 3 else "RGBA"
    raise MaskError(
        f"{name} is an image of colours (mode {mode}); accepted: one id a pixel (mode P, L, I;16 "
        f"or I), or white on black. {remedy}"
    )


def float_mask(
    pixels: NDArray[np.floating],
    *,
    name: str = "the mask",
    array: str = "mask",
    to_integers: str = "astype(int)",
) -> NDArray[np.bool_]:
    """Return floats of 0 and 1 alone, of any shape, as bool.

    The message shows how to convert others: `array` is the expression for what holds them, and
    `to_integers` its method.
    """
    if ((pixels == 0) | (pixels == 1)).all():
        return pixels == 1
    raise MaskError(
        f"{name} is {pixels.dtype}; accepted: ids as integers, bool, or floats of 0 and 1 alone. "
        f"Write {array} > 0.5, if it holds probabilities; {array}.{to_integers}, if it holds ids"
    )


def _decoded(image: Image.Image, name: str) -> NDArray[Any]:
    """Return the pixels of an image; of grey or a palette with alpha, those without it."""
    mode = image.mode
    if image.format == "EPS":  # decoding it would run Ghostscript
        raise MaskError(
            f'{name} is PostScript; accepted: images of pixels. Write mask.convert("RGB"), which '
            "runs Ghostscript, if you trust the file"
        )
    if mode not in ("P", "PA", "L", "LA", "1", "I", "F", "RGB", "RGBA") and mode[:4] != "I;16":
        converted = _CONVERTED.get(mode, 'convert("RGB")')
        raise MaskError(
            f"{name} is an image of mode {mode}; accepted: one id a pixel (mode P, L, I;16 or I), "
            f"or white on black. Write mask.{converted}, if it is white on black"
        )
    try:  # an image that the caller opened may be damaged, and is decoded only here
        if mode == "1":
            return np.array(image.convert("L")) > 0  # not from mode 1, whose trues are bytes of 255
        if mode == "LA":
            grey, alpha = (np.array(image.getchannel(band)) for band in (0, 1))
            is_uniform = grey.size > 0 and grey.min() == grey.max() and alpha.min() < alpha.max()
            return alpha if is_uniform else grey
        return np.array(image.getchannel(0) if mode == "PA" else image)
    except Exception as error:  # decoders raise anything
        raise MaskError(f"{name} cannot be decoded: {error}; accepted: undamaged images") from error


def _palette_labels(
    indices: NDArray[np.uint8], image: Image.Image, object_ids: Sequence[int] | None, name: str
) -> NDArray[Any]:
    """Return the indices of a palette image, unless its palette shows that they are not ids."""
    if object_ids is not None:
        return indices
    flat = (image.getpalette() or [])[:768]
    colours = np.zeros((256, 3), np.int16)
    colours[: len(flat) // 3] = np.reshape(flat[: len(flat) // 3 * 3], (-1, 3))
    used = np.flatnonzero(np.bincount(indices.ravel(), minlength=256))
    dark: NDArray[np.bool_] = colours.max(axis=1) <= _DARK
    if not dark[0] and dark[used].any():
        black = int(used[dark[used]][0])
        raise MaskError(
            f"{name} is a palette image in which index 0 has the colour {colours[0].tolist()} and "
            f"index {black} is black, so that its indices do not look like ids; accepted: index 0 "
            'for the background. Write mask.convert("L") of the PIL image, if it is white on '
            "black, or np.asarray(mask), if the indices are ids"
        )
    # A picture of greys, such as a GIF of a soft mask.
    if len(used) > 2 and (colours[used] == colours[used][:, :1]).all():
        mask = as_binary(colours[:, 0].astype(np.uint8)[indices], name=name)
        return mask if mask.dtype == np.bool_ else indices
    return indices
