"""Prompts: boxes and clicks become masks."""

from rmnet.prompting.prompter import NetworkPrompter, Prompter, load_prompter
from rmnet.prompting.prompts import Box, BoxLike, Point, PointsLike, Prompts, parse_prompts
from rmnet.prompting.trunk import Trunk
from rmnet.prompting.views import SIDE, View, box_planes, click_planes

__all__ = [
    "SIDE",
    "Box",
    "BoxLike",
    "NetworkPrompter",
    "Point",
    "PointsLike",
    "Prompter",
    "Prompts",
    "Trunk",
    "View",
    "box_planes",
    "click_planes",
    "load_prompter",
    "parse_prompts",
]
