"""Pure tensor functions: images, boxes, regions, warping, aggregation."""

from rmnet.geometry.aggregation import soft_aggregate
from rmnet.geometry.image import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Padding,
    network_size,
    normalise,
    resize,
)
from rmnet.geometry.regions import (
    cells_in_boxes,
    frame_boxes,
    mask_boxes,
    pixel_to_cell_boxes,
    shift_boxes,
    union_boxes,
)
from rmnet.geometry.warp import backward_warp

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "Padding",
    "backward_warp",
    "cells_in_boxes",
    "frame_boxes",
    "mask_boxes",
    "network_size",
    "normalise",
    "pixel_to_cell_boxes",
    "resize",
    "shift_boxes",
    "soft_aggregate",
    "union_boxes",
]
