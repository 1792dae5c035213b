"""Settings of the ablations: the paper's tables 5 to 7, and further ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from rmnet import MemoryPolicy

Part = Literal["read", "region", "flow", "step"]
FlowName = Literal["TinyFlowNet", "RAFT", "DIS"]


class Published(NamedTuple):
    """A row of the paper, on DAVIS 2017 val.

    Attributes:
        jaccard: Mean J.
        contour: Mean F.
        average: Mean of both, as printed.
        milliseconds: Time of the part in question on a V100; None where the table has none.
    """

    jaccard: float
    contour: float
    average: float
    milliseconds: float | None = None


@dataclass(frozen=True)
class Setting:
    """One row of a table.

    Attributes:
        name: Name of the row.
        fields: Arguments of `RMNetSegmenter.with_config`.
        memory: Policy of the memory.
        flow: Flow that moves the masks, where `fields` use one; None if it is not available.
        published: The paper's numbers, if it has any.
    """

    name: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    memory: MemoryPolicy = MemoryPolicy()
    flow: FlowName | None = "TinyFlowNet"
    published: Published | None = None


class Table(NamedTuple):
    """Rows, and the part whose time distinguishes them."""

    title: str
    part: Part
    settings: tuple[Setting, ...]


# The paper's query region is "warped", whatever that of the network is.
PAPER = {"search_region": "warped", "memory_region": "mask"}
FLOW_BASED = Published(0.810, 0.860, 0.835)

TABLES: dict[str, Table] = {
    "5": Table(
        "Memory region, query region",
        "read",
        (
            Setting(
                "off, off",
                {"memory_region": "frame", "search_region": "frame"},
                published=Published(0.792, 0.843, 0.818, 10.68),
            ),
            Setting(
                "on, off",
                PAPER | {"search_region": "frame"},
                published=Published(0.798, 0.847, 0.822, 5.50),
            ),
            Setting(
                "off, on",
                PAPER | {"memory_region": "frame"},
                published=Published(0.803, 0.853, 0.828, 5.50),
            ),
            Setting("on, on", PAPER, published=FLOW_BASED._replace(milliseconds=2.09)),
        ),
    ),
    "6": Table(
        "Query region",
        "region",
        (
            Setting(
                "previous mask",
                PAPER | {"search_region": "previous"},
                published=Published(0.762, 0.822, 0.792),
            ),
            Setting(
                "best match",
                PAPER | {"search_region": "best_match"},
                published=Published(0.792, 0.845, 0.819),
            ),
            Setting("flow", PAPER, published=FLOW_BASED),
            Setting("flow + previous mask", PAPER | {"search_region": "union"}),
        ),
    ),
    "7": Table(
        "Optical flow",
        "flow",
        (
            Setting(
                "FlowNet2-CSS", PAPER, flow=None, published=Published(0.814, 0.860, 0.837, 59.93)
            ),
            Setting("RAFT", PAPER, flow="RAFT", published=Published(0.808, 0.859, 0.834, 157.78)),
            Setting("TinyFlowNet", PAPER, published=FLOW_BASED._replace(milliseconds=10.05)),
            Setting("DIS (OpenCV)", PAPER, flow="DIS"),
            Setting("none", PAPER | {"search_region": "previous"}),
        ),
    ),
    "memory": Table(
        "Memory: interval and bound",
        "read",
        (
            Setting("every frame, at most 40", memory=MemoryPolicy(every=1)),
            Setting("every 5th, at most 40"),
            Setting("every 20th, at most 40", memory=MemoryPolicy(every=20)),
            Setting("every 5th, at most 2", memory=MemoryPolicy(max_frames=2)),
            Setting("every 5th, at most 5", memory=MemoryPolicy(max_frames=5)),
        ),
    ),
    "regions": Table(
        "Size of the regions (phi, px) and of a lost object (eta, px)",
        "read",
        (
            Setting("phi 0", {"box_margin": 0}),
            Setting("phi 32", {"box_margin": 32}),
            Setting("phi 64", {"box_margin": 64}),
            Setting("phi 128", {"box_margin": 128}),
            Setting("eta 10", {"min_object_pixels": 10}),
            Setting("eta 1000", {"min_object_pixels": 1000}),
        ),
    ),
    "read": Table(
        "Memory cells outside their region",
        "read",
        (
            Setting("excluded (paper)", {"read": "excluded"}),
            Setting("zeroed (released code)", {"read": "zeroed"}),
        ),
    ),
    "threshold": Table(
        "Probability from which a pixel is remembered as the object's",
        "read",
        (
            Setting("none: probabilities", {"memory_threshold": None}),
            Setting("0.5", {"memory_threshold": 0.5}),
            Setting("0.65", {"memory_threshold": 0.65}),
            Setting("0.8", {"memory_threshold": 0.8}),
        ),
    ),
}
