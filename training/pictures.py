"""Photographs and frames in memory, with their label maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from rmnet.io import VOID, read_label_png
from training.by_value import ByValue

Box = tuple[int, int, int, int]  # columns and rows x0, y0, x1, y1, half-open, px
LEAST_PART, MOST_PART = 0.01, 0.6  # of a still; smaller objects are crumbs, larger ones scenes


@dataclass(frozen=True)
class Picture(ByValue):
    """One photograph or frame.

    Attributes:
        image: uint8 (3, h, w).
        labels: uint8 (h, w), 0 background.
        boxes: Box of every id.
        areas: Number of pixels of every id.
    """

    image: Tensor
    labels: Tensor
    boxes: dict[int, Box]
    areas: dict[int, int]

    @classmethod
    def of(cls, image: Tensor, labels: Tensor) -> Picture:
        """Measure the objects of an image."""
        boxes, areas = {}, {}
        array = labels.numpy()
        counts = np.bincount(array.ravel(), minlength=1)  # np.unique would sort every pixel
        for object_id in (np.flatnonzero(counts[1:]) + 1).tolist():
            inside = array == object_id
            rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
            boxes[object_id] = (
                int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1,
            )  # fmt: skip
            areas[object_id] = int(counts[object_id])
        return cls(image, labels, boxes, areas)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, px."""
        return self.image.shape[2], self.image.shape[1]

    def usable(self, least: int) -> tuple[int, ...]:
        """Return ids of objects to cut out: at least `least` px wide and high, not too large."""
        pixels = self.labels.numel()
        return tuple(
            object_id
            for object_id, (x0, y0, x1, y1) in self.boxes.items()
            if LEAST_PART * pixels < self.areas[object_id] < MOST_PART * pixels
            and min(x1 - x0, y1 - y0) >= least
        )

    def to(self, device: torch.device) -> Picture:
        """Return the picture on a device."""
        return replace(self, image=self.image.to(device), labels=self.labels.to(device))


@dataclass(frozen=True)
class Video:
    """The frames of a real clip that have masks.

    Attributes:
        pictures: The frames.
        step: Distance of two of them in frames of the video: 1 for DAVIS, 5 for YouTube-VOS.
    """

    pictures: tuple[Picture, ...]
    step: int = 1

    @property
    def frames(self) -> Tensor:
        """uint8 (T, 3, h, w)."""
        return torch.stack([picture.image for picture in self.pictures])

    @property
    def labels(self) -> Tensor:
        """uint8 (T, h, w)."""
        return torch.stack([picture.labels for picture in self.pictures])


def read_image(path: Path, side: int | None) -> Tensor:
    """Read an RGB image as uint8 (3, h, w), shrunk to a shorter side of `side` px if larger."""
    with Image.open(path) as image:
        found = image.convert("RGB")
    size = shrunk_size(found.size, side)
    found = found if size == found.size else found.resize(size, Image.Resampling.BOX)
    return torch.from_numpy(np.array(found)).permute(2, 0, 1).contiguous()


def read_labels(path: Path) -> np.ndarray:
    """Read a label map (h, w) uint8, void as background."""
    labels = read_label_png(path)
    return np.where(labels == VOID, 0, labels).astype(np.uint8)


def read_mask(path: Path) -> np.ndarray:
    """Read a mask of a single photograph, (h, w) uint8: grey up to 255 as 0 and 1, else its ids."""
    with Image.open(path) as image:
        grey = np.array(image if image.mode == "P" else image.convert("L"))
    return (grey > 127).astype(np.uint8) if grey.max() > 127 else grey.astype(np.uint8)


def picture_of(image_path: Path, labels: np.ndarray, side: int | None) -> Picture:
    """Read a photograph whose label map is known, both shrunk to `side`."""
    image = read_image(image_path, side)
    height, width = image.shape[1:]
    if labels.shape != (height, width):
        labels = np.array(Image.fromarray(labels).resize((width, height), Image.Resampling.NEAREST))
    return Picture.of(image, torch.from_numpy(labels))


def read_video(
    frames: Sequence[Path], masks: Sequence[Path | None], side: int | None
) -> Video | None:
    """Read the frames that have masks; None if there are fewer than two."""
    pairs = enumerate(zip(frames, masks, strict=True))
    chosen = [(number, frame, mask) for number, (frame, mask) in pairs if mask is not None]
    if len(chosen) < 2:
        return None
    pictures = tuple(picture_of(frame, read_labels(mask), side) for _, frame, mask in chosen)
    return Video(pictures, step=int(np.median(np.diff([number for number, _, _ in chosen]))))


def shrunk_size(size: tuple[int, int], side: int | None) -> tuple[int, int]:
    """Return the (width, height) of an image shrunk to a shorter side of at most `side` px."""
    shorter = min(size)
    if side is None or shorter <= side:
        return size
    width, height = (max(1, round(length * side / shorter)) for length in size)
    return width, height
