"""What may be learnt from under free licences: no photograph, whoever took it."""

from __future__ import annotations

from collections.abc import Collection

from layouts import Found
from pictures import Picture
from shapes import make_stills

SHAPES = 1000  # stills made by code, in place of 2,659 photographs
FRAMES_APART = 5  # frames of a clip that serve as stills


def without_photographs(
    found: Found, *, held_out: Collection[str], shapes: int | None = None
) -> Found:
    """Put frames of the clips, and shapes by code, in the place of the stills that were found.

    Args:
        found: Of one data folder. Its clips stay: DAVIS has them under CC BY 4.0.
        held_out: Clips whose frames are not learnt from.
        shapes: Stills to make; None for `SHAPES`.
    """
    frames: list[Picture] = []
    for name, video in found.videos.items():
        if name not in held_out:
            frames += video.pictures[::FRAMES_APART]
    made = make_stills(SHAPES if shapes is None else shapes)
    return Found({"shapes": made, "frames": frames}, dict(found.videos))
