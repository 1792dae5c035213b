"""What a session knows of one frame, as a value."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from rmnet.tracking.estimate import Estimate

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
