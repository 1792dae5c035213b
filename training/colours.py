"""Colour changes: brightness, contrast, saturation and tint as one matrix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

GREY = 115.0  # about the mean of photographs


@dataclass(frozen=True)
class ColourChange:
    """The map colour → matrix @ colour + pivot * mean, with the mean of `gains` * colour.

    Attributes:
        matrix: (3, 3).
        gains: (3,) factors of brightness and tint.
        pivot: 1 - contrast: the share of the mean that makes up for what contrast removes.
    """

    matrix: NDArray[np.float64]
    gains: NDArray[np.float64]
    pivot: float

    @property
    def row(self) -> NDArray[np.float64]:
        """The 13 numbers in a row, for `change_colours`."""
        return np.concatenate([self.matrix.ravel(), self.gains, [self.pivot]])


NO_CHANGE = ColourChange(np.eye(3), np.ones(3), 0.0)


def random_change(rng: np.random.Generator, strength: float) -> ColourChange:
    """Draw a change of brightness, contrast, saturation and tint."""
    bright, contrast = 1 + rng.uniform(-0.35, 0.35, 2) * strength
    saturation = 1 + rng.uniform(-0.5, 0.4) * strength
    gains = bright * (1 + rng.uniform(-0.12, 0.12, 3) * strength)
    mix = saturation * np.eye(3) + (1 - saturation) / 3
    return ColourChange(contrast * mix @ np.diag(gains), gains, 1 - contrast)


def without_colour(change: ColourChange) -> ColourChange:
    """Return the change, followed by a conversion to grey."""
    return ColourChange(np.full((3, 3), 1 / 3) @ change.matrix, change.gains, change.pivot)


def change_colours(frames: Tensor, rows: Tensor, *, pivot: float | None = None) -> Tensor:
    """Apply changes.

    Args:
        frames: (L, 3, T, H, W).
        rows: (L, 13) of `ColourChange.row`, or (L, T, 13) with one row per frame.
        pivot: The mean that contrast turns about; None for the mean of the frames.

    Returns:
        The changed frames.
    """
    per_frame = rows.dim() == 3
    rows = rows if per_frame else rows.unsqueeze(1)  # (L, T or 1, 13)
    matrix, gains, part = rows[..., :9].unflatten(-1, (3, 3)), rows[..., 9:12], rows[..., 12]
    # Means of the channels, (L, T or 1, 3).
    means = frames.mean((3, 4) if per_frame else (2, 3, 4)).view(len(frames), 3, -1)
    mean = (means.transpose(1, 2) * gains).mean(-1)
    if pivot is not None:
        mean = gains.mean(-1) * pivot
    red, green, blue = frames.unbind(1)
    changed = []
    for channel in range(3):
        to_red, to_green, to_blue = (
            number[..., None, None] for number in matrix[..., channel, :].unbind(-1)
        )
        offset = (part * mean)[..., None, None]
        plane = (red * to_red).addcmul_(green, to_green).addcmul_(blue, to_blue).add_(offset)
        changed.append(plane)
    return torch.stack(changed, 1)
