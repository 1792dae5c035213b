"""What a session knows: the values that pass between it and its file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from rmnet.tracking.memory import MemoryBank
from rmnet.tracking.step import KnownFrame

FlowName = Literal["tiny", "none", "function"]  # a function of the user's own is in no file


@dataclass(frozen=True, slots=True, eq=False)
class LastFrame:
    """The frame just returned; regions (x0, y0, x1, y1) are in px of the network's size."""

    known: KnownFrame
    video_size: tuple[int, int]
    regions: dict[int, tuple[int, int, int, int]]
    seconds: float | None


@dataclass(frozen=True, slots=True, eq=False)
class SessionState:
    """Everything that the next step needs, weights apart.

    Attributes:
        precision: Of the computation.
        shorter_side: Of the frame inside the network, px; None for the video's own.
        flow: What moves the search.
        regional: Whether encoders and decoder see regions alone.
        keep_probabilities: Whether results carry them.
        bank: Past frames, and the policy that chose them.
        next_index: Number of the frame to come.
        last: The frame before that; None before the first.
    """

    precision: torch.dtype
    shorter_side: int | None
    flow: FlowName
    regional: bool
    keep_probabilities: bool
    bank: MemoryBank
    next_index: int
    last: LastFrame | None
