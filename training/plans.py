"""Plans of clips, made with numpy alone; `render.py` draws them on any device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from training.colours import ColourChange
from training.motion import Track

# The continuation of a layer beyond its picture.
Beyond = Literal["nothing", "grey", "mirror"]


@dataclass(frozen=True)
class Crop:
    """Part of a picture.

    Attributes:
        picture: Number among `Sources.pictures`.
        box: Columns and rows (x0, y0, x1, y1), half-open, px.
        shrink: Factor to shrink by, averaging pixels: bilinear sampling aliases below half size.
        objects: Ids of the masks to draw, one channel each.
    """

    picture: int
    box: tuple[int, int, int, int]
    shrink: int
    objects: tuple[int, ...] = ()


@dataclass(frozen=True)
class LayerPlan:
    """A moving picture.

    Attributes:
        crops: One crop for all frames, or one per frame.
        track: Maps from pixels of the frames to pixels of the shrunk crop.
        beyond: Continuation beyond the crop.
        colours: Change of colours.
        exposure: Part of the time since the previous frame that motion blur covers, in [0, 1].
    """

    crops: tuple[Crop, ...]
    track: Track
    beyond: Beyond = "nothing"
    colours: ColourChange | None = None
    exposure: float = 0.0


@dataclass(frozen=True)
class ClipPlan:
    """Layers painted over each other.

    Attributes:
        ground: Lowest layer, which fills the frame, with one mask per target of its own.
        layers: Cut-outs from the lowest up, with one mask each.
        targets: Number of the layer of each of N targets, or -1 - k for mask k of the ground.
        colours: Changes of the whole clip and of each frame; None for no change.
    """

    ground: LayerPlan
    layers: tuple[LayerPlan, ...]
    targets: tuple[int, ...]
    colours: tuple[ColourChange, ...] | None


def shrink_for(
    scale: float, size: tuple[int, int], centre: tuple[float, float]
) -> tuple[int, tuple[float, float], float]:
    """Halve a picture until it is drawn at more than half its size.

    Args:
        scale: Frame pixels per picture pixel.
        size: Width and height of the picture, px.
        centre: A point of the picture.

    Returns:
        The factor that the picture shrinks by, the point in the shrunk picture, and the scale that
        draws it at the same size as before.
    """
    factor = 1
    while scale * factor <= 0.5 and min(size) // factor >= 8:
        factor *= 2
    # Pixel i of a picture halved has its centre at 2i + 1/2 of the whole one.
    x, y = ((c + 0.5) / factor - 0.5 for c in centre)
    return factor, (x, y), scale * factor


def random_size(rng: np.random.Generator, low: float, high: float, least: float) -> float:
    """Draw the longer side of an object, px, log-uniformly: every scale is equally likely."""
    low = max(low, least)
    return low * (max(high, low) / low) ** rng.random()
