"""A clip to try the library on: three textured objects on a moving ground, made from nothing."""

from rmnet.demo.clip import DemoClip, DemoScore, Sprite, draw_sprite, make_clip, score
from rmnet.demo.textures import Array, ground, marbled, sample, speckled, spotted

__all__ = [
    "Array",
    "DemoClip",
    "DemoScore",
    "Sprite",
    "draw_sprite",
    "ground",
    "make_clip",
    "marbled",
    "sample",
    "score",
    "speckled",
    "spotted",
]
