"""Photographs and frames in memory, with their label maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from by_value import ByValue
from rmnet.io import VOID, read_label_png

Box = tuple[int, int, int, int]  # columns and rows x0, y0, x1, y1, half-open, px
LEAST_PART, MOST_PART = 0.01, 0.6  # of a still that is an object; others are crumbs or scenes


@dataclass(frozen=True)
class Picture(ByValue):
    """One photograph or frame.

    Attributes:
        image: uint8 (3, h, w).
        labels: uint8 (h, w), 0 background.
        boxes: Of every id.
        areas: Pixels of every id.
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
        """Ids that can be cut out: neither crumbs nor scenes, `least` px wide and high."""
        pixels = self.labels.numel()
        return tuple(
            object_id
            for object_id, (x0, y0, x1, y1) in self.boxes.items()
            if LEAST_PART * pixels < self.areas[object_id] < MOST_PART * pixels
            and min(x1 - x0, y1 - y0) >= least
        )

    def to(self, device: torch.device) -> Picture:
        """The same picture elsewhere."""
        return replace(self, image=self.image.to(device), labels=self.labels.to(device))


@dataclass(frozen=True)
class Video:
    """One real clip: those of its frames that have masks.

    Attributes:
        pictures: Its frames.
        step: Frames of the film between two of them: 1 for DAVIS, 5 for YouTube-VOS.
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
    """Read the frames that have masks; None if fewer than two have."""
    numbers = [number for number, mask in enumerate(masks) if mask is not None]
    if len(numbers) < 2:
        return None
    pictures = tuple(
        picture_of(frames[number], read_labels(masks[number]), side) for number in numbers
    )
    return Video(pictures, step=int(np.median(np.diff(numbers))))


def shrunk_size(size: tuple[int, int], side: int | None) -> tuple[int, int]:
    """Width and height of an image whose shorter side is at most `side`."""
    shorter = min(size)
    if side is None or shorter <= side:
        return size
    return tuple(max(1, round(length * side / shorter)) for length in size)
