"""The state of a session: plain values that pass between its steps and its file."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from rmnet.options import TrackingOptions
from rmnet.tracking.estimate import Estimate
from rmnet.tracking.memory import MemoryBank

Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class LastFrame:
    """The frame just returned. It enters the memory when the next one arrives.

    Attributes:
        index: Number of the frame in its video, from 0.
        pixels: (3, h, w) uint8 RGB on the device, at the network's size.
        video_size: (H, W) of the video, in pixels.
        estimate: What is known of the objects.
        regions: Object id -> box (x0, y0, x1, y1) that was searched, in pixels at the network's
            size. An object whose mask was given has none.
        seconds: Time of the frame in its video; None if unknown.
    """

    index: int
    pixels: Tensor
    video_size: tuple[int, int]
    estimate: Estimate
    regions: dict[int, Box]
    seconds: float | None

    @property
    def network_size(self) -> tuple[int, int]:
        """(h, w) inside the network, in pixels."""
        return self.pixels.shape[1], self.pixels.shape[2]


@dataclass(frozen=True, slots=True, eq=False)
class SessionState:
    """Everything the next step needs, apart from the weights.

    Attributes:
        options: How the video is tracked; `size` is resolved.
        bank: Past frames. The only part that is changed in place.
        next_index: Number of the frame to come.
        last: The last frame that could be read; None before the first.
    """

    options: TrackingOptions
    bank: MemoryBank
    next_index: int
    last: LastFrame | None = None

    @classmethod
    def fresh(cls, options: TrackingOptions, first_index: int) -> SessionState:
        """Return the state before the first frame."""
        return cls(options, MemoryBank(options.memory), first_index)

    @property
    def object_ids(self) -> tuple[int, ...]:
        """Ids of the objects being tracked, in the order they were given."""
        return () if self.last is None else self.last.estimate.object_ids
