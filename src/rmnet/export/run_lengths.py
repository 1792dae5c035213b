"""Results in the formats of other tools: COCO run lengths."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from rmnet.errors import MaskError, MissingDependencyError

__all__ = ["encode_rle"]


def encode_rle(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Compress one mask; needs pycocotools.

    Args:
        mask: (H, W) bool.

    Returns:
        `{"size": [H, W], "counts": str}`, ready for JSON; `pycocotools.mask.decode` reads it.

    Raises:
        MaskError: not (H, W) bool.
        MissingDependencyError: pycocotools is not installed.
    """
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.dtype != np.bool_:
        raise MaskError(
            f"the mask is {mask.dtype} of shape {mask.shape}; accepted: bool (H, W). "
            "Write labels == object_id"
        )
    try:
        from pycocotools import mask as coco
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "run lengths need pycocotools, which is not installed. Write pip install 'rmnet[coco]'"
        ) from error
    ones = mask.view(np.uint8) != 0  # as bytes: Pillow decodes mode 1 to trues of 255
    encoded = coco.encode(np.asfortranarray(ones.view(np.uint8)))
    return {"size": list(mask.shape), "counts": cast("bytes", encoded["counts"]).decode("ascii")}
