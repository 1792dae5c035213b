"""What a clip will look like, decided with numpy alone; `render.py` draws it on any device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from colours import ColourChange
from motion import Track

# What lies beyond a layer's picture: nothing, grey, or its mirror image.
Beyond = Literal["nothing", "grey", "mirror"]


@dataclass(frozen=True)
class Crop:
    """Part of a picture.

    Attributes:
        picture: Number among `Sources.pictures`.
        box: Columns and rows (x0, y0, x1, y1), half-open.
        shrink: Pixels averaged along each side: bilinear look-ups alias below half size.
        objects: Ids whose masks are wanted, a channel each.
    """

    picture: int
    box: tuple[int, int, int, int]
    shrink: int
    objects: tuple[int, ...] = ()


@dataclass(frozen=True)
class LayerPlan:
    """A moving picture.

    Attributes:
        crops: One for all frames, or one a frame.
        track: From pixels of the frames to pixels of the crop, shrunk.
        beyond: What lies beyond the crop.
        colours: Change of its colours.
        exposure: Part of the time since the last frame that a frame is blurred over, 0 to 1.
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
        ground: The lowest layer, which fills the frame; it has a mask a target of its own.
        layers: Cut-outs from the lowest up, a mask each.
        targets: For each of N targets, the number of its layer, or -1 - k for mask k of the
            ground.
        colours: Change of the whole clip, and of each frame; None for none.
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
        How often a pixel of the shrunk picture counts along a side, the point in the shrunk
        picture, and the scale that draws it at the same size as before.
    """
    factor = 1
    while scale * factor <= 0.5 and min(size) // factor >= 8:
        factor *= 2
    # Pixel i of a picture halved has its centre at 2i + 1/2 of the whole one.
    x, y = ((c + 0.5) / factor - 0.5 for c in centre)
    return factor, (x, y), scale * factor


def random_size(rng: np.random.Generator, low: float, high: float, least: float) -> float:
    """Draw an object's longer side in px, log-uniformly: every scale is met as often."""
    low = max(low, least)
    return low * (max(high, low) / low) ** rng.random()
