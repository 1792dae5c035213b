"""Label maps as image files: read what others write, write what DAVIS reads."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rmnet.errors import MaskError
from rmnet.io.image_files import open_image
from rmnet.io.label_map import VOID, as_binary
from rmnet.io.saving import written_whole

COLOUR_REMEDY = (
    "Save it as a palette PNG, or turn colours into ids: np.unique(mask.reshape(-1, 3), axis=0, "
    "return_inverse=True)[1].reshape(mask.shape[:2])"
)


def read_label_png(path: str | Path) -> NDArray[np.integer]:
    """Read the ids that an image file holds.

    Args:
        path: PNG, or another image file without colours: mode P, PA, L, LA, 1, I;16 or I.

    Returns:
        (H, W) uint8, uint16 or int32. The ids as they stand in the file, void (255) included;
        of a binary mask (1 bit, or 0/255 without a palette, as in DAVIS 2016) 0 and 1.

    Raises:
        MaskError: no such file, not an image, damaged, in colour, or above Pillow's size limit.
    """
    labels = image_labels(open_label_image(path), name=f"the mask {str(path)!r}")
    return labels.view(np.uint8) if labels.dtype == np.bool_ else labels


def write_label_png(
    path: str | Path, labels: NDArray[np.integer], *, object_ids: Collection[int] = ()
) -> None:
    """Write a label map, so that either the whole file appears or nothing changes.

    Args:
        path: The file; an old one is replaced.
        labels: (H, W) of any integer dtype, ids in [0, 65535]; see `label_image`.
        object_ids: Ids of the whole video, so that all its files are of one kind; 255 is none.

    Raises:
        MaskError: not a label map, an id out of range, or no folder to write into.
        OutputError: it cannot be written.
    """
    if VOID in object_ids:
        raise MaskError(
            f"object {VOID} cannot be saved as a label PNG, where {VOID} is void; accepted: other "
            "ids. Give the object another one, or write COCO RLE"
        )
    image, target = label_image(labels, largest_id=max(object_ids, default=0)), Path(path)
    if not target.parent.is_dir():
        raise MaskError(
            f"there is no folder {str(target.parent)!r} to write {target.name!r} into; "
            "accepted: an existing one. Write Path(folder).mkdir(parents=True) before"
        )
    with written_whole(target) as unfinished:
        image.save(unfinished, format="PNG")


def label_image(labels: NDArray[np.integer], *, largest_id: int = 0) -> Image.Image:
    """A label map as the image that DAVIS would store.

    Args:
        labels: (H, W) of any integer dtype, ids in [0, 65535].
        largest_id: Of the video that the map is from.

    Returns:
        Up to id 255 a palette image (mode P) in the colours of DAVIS, above that 16-bit grey.

    Raises:
        MaskError: not a label map, or an id below 0 or above 65535.
    """
    labels = np.asarray(labels)
    if labels.ndim != 2 or labels.dtype.kind not in "iu" or labels.size == 0:
        raise MaskError(
            f"labels are {labels.dtype} of shape {labels.shape}; accepted: integers (H, W). "
            "Write labels.astype(np.int32), if the values are ids"
        )
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or highest > 65535:
        raise MaskError(
            f"labels hold ids from {lowest} to {highest}; a PNG takes 0 to 65535. "
            "Write COCO RLE (rmnet.export.run_lengths.encode_rle) or np.save instead"
        )
    if max(highest, largest_id) > 255:
        return Image.fromarray(labels.astype(np.uint16))
    image = Image.fromarray(labels.astype(np.uint8))
    image.putpalette(davis_palette().tobytes())  # turns mode L into P
    return image


def davis_palette() -> NDArray[np.uint8]:
    """The 256 colours of DAVIS and PASCAL VOC annotations.

    Returns:
        (256, 3) RGB uint8: black for 0, and no other black.

    Source: VOCdevkit, `VOClabelcolormap`: bit 3k + c of the id is bit 7 - k of channel c.
    """
    ids = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        palette[:, bit % 3] |= ((ids >> bit & 1) << (7 - bit // 3)).astype(np.uint8)
    return palette


def open_label_image(path: str | Path) -> Image.Image:
    """Decode an image file, in the mode that it has.

    Args:
        path: The file.

    Returns:
        The decoded image; the file is closed.

    Raises:
        MaskError: no such file, not an image, damaged, or above Pillow's size limit.
    """
    try:
        return open_image(path, name=f"the mask {str(path)!r}", error=MaskError)
    except MaskError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise MaskError(
                f"there is no mask file {str(path)!r}; accepted: an existing PNG"
            ) from error
        raise


def image_labels(image: Image.Image, *, name: str = "the mask") -> NDArray[Any]:
    """Take the label map out of an image.

    Args:
        image: Of mode P, PA, L, LA, 1, I;16 or I. Alpha is dropped: one file of DAVIS 2016 is LA.
        name: What the errors call it.

    Returns:
        (H, W): bool for a binary mask (1 bit, or 0/255 without a palette), else uint8, uint16
        or int32.

    Raises:
        MaskError: the image has colours, or real numbers.
    """
    if image.mode == "F":
        raise MaskError(
            f"{name} is an image of real numbers (mode F); accepted: ids, or a binary mask. "
            "Write np.asarray(mask) > 0.5, if it holds probabilities"
        )
    if image.mode not in ("P", "PA", "L", "LA", "1", "I") and not image.mode.startswith("I;16"):
        raise MaskError(
            f"{name} is an image of colours (mode {image.mode}); accepted: one id a pixel, mode "
            f"P, L, 1 or I;16. {COLOUR_REMEDY}"
        )
    try:  # an image that was opened and not yet decoded may turn out to be damaged
        if image.mode == "1":
            return np.array(image.convert("L")) > 0  # not from mode 1, whose trues are bytes of 255
        labels = np.array(image.getchannel(0) if image.mode in ("LA", "PA") else image)
    except Exception as error:  # decoders raise what they meet
        raise MaskError(f"{name} cannot be decoded: {error}; accepted: undamaged images") from error
    return labels if image.mode in ("P", "PA") else as_binary(labels)
