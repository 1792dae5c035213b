"""Label maps as image files: read what others write, write what DAVIS reads."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rmnet.errors import MaskError
from rmnet.io.label_map import VOID, checked_labels
from rmnet.io.mask_image import image_labels
from rmnet.io.whole_files import written_whole


def read_label_png(path: str | Path) -> NDArray[np.integer]:
    """Read the ids of a label image.

    Args:
        path: PNG, or another image file; it is turned by its EXIF orientation.

    Returns:
        (H, W) uint8, uint16 or int32: the ids of the file, void (255) included; 0 and 1 for a
        binary mask (1 bit, white on black, or 0/255 without a palette, as in DAVIS 2016). A binary
        mask with soft edges is thresholded, with a warning.

    Raises:
        MaskError: no such file, not an image, damaged, in colours, with soft edges around several
            objects, with a palette that shows no background at 0, or above Pillow's size limit.
    """
    labels = image_labels(path)
    return labels.view(np.uint8) if labels.dtype == np.bool_ else labels


def write_label_png(
    path: str | Path, labels: NDArray[np.integer], *, object_ids: Collection[int] = ()
) -> None:
    """Write a label map as a PNG that appears whole or not at all.

    Args:
        path: File to write or replace.
        labels: (H, W) of any integer dtype, ids in [0, 65535]; see `label_image`.
        object_ids: Ids of the whole video, which make all its files of one kind; 255 is refused.

    Raises:
        MaskError: not a label map, or an id out of range.
        OutputError: the file cannot be written, for example because its folder does not exist.
    """
    if VOID in object_ids:
        free = min({*range(1, len(object_ids) + 2)} - {*object_ids, VOID})
        raise MaskError(
            f"object {VOID} cannot be saved as a label PNG, where {VOID} is void; accepted: other "
            f"ids. Write {{{free}: labels == {VOID}}} as its mask, before tracking, or "
            "result.to_rle() instead of label PNGs"
        )
    image = label_image(labels, largest_id=max(object_ids, default=0))
    with written_whole(Path(path)) as unfinished:
        image.save(unfinished, format="PNG")


def label_image(labels: NDArray[np.integer], *, largest_id: int = 0) -> Image.Image:
    """Return labels (H, W) as a palette image in the colours of DAVIS, or as 16-bit grey.

    It is grey if an id, or the largest one of the video, is above 255.
    """
    labels = checked_labels(labels)
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or highest > 65535:
        raise MaskError(
            f"labels hold ids from {lowest} to {highest}; a PNG takes 0 to 65535. "
            "Write COCO RLE (rmnet.export.encode_rle) or np.save instead"
        )
    if max(highest, largest_id) > 255:
        return Image.fromarray(labels.astype(np.uint16))
    image = Image.fromarray(labels.astype(np.uint8))
    image.putpalette(davis_palette().tobytes())  # turns mode L into P
    return image


def davis_palette() -> NDArray[np.uint8]:
    """Return the colours of DAVIS and PASCAL VOC, (256, 3) RGB: black for 0, and no other black.

    Source: VOCdevkit, `VOClabelcolormap`: bit 3k + c of the id is bit 7 - k of channel c.
    """
    ids = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        palette[:, bit % 3] |= ((ids >> bit & 1) << (7 - bit // 3)).astype(np.uint8)
    return palette
