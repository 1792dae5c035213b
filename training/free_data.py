"""Training data under free licences: no photographs."""

from __future__ import annotations

from collections.abc import Collection

from training.layouts import Found
from training.pictures import Picture
from training.shapes import make_stills

SHAPES = 1000  # stills drawn by code, in place of 2,659 photographs
FRAMES_APART = 5  # every fifth frame of a clip serves as a still


def without_photographs(
    found: Found, *, held_out: Collection[str], shapes: int | None = None
) -> Found:
    """Replace stills by frames of the clips and by shapes drawn by code.

    Args:
        found: Contents of a data folder. Its clips stay: those of DAVIS are under CC BY 4.0.
        held_out: Names of clips whose frames are left out.
        shapes: Number of stills to draw; None for `SHAPES`.
    """
    frames: list[Picture] = []
    for name, video in found.videos.items():
        if name not in held_out:
            frames += video.pictures[::FRAMES_APART]
    made = make_stills(SHAPES if shapes is None else shapes)
    return Found({"shapes": made, "frames": frames}, dict(found.videos))
