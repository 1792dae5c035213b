"""A frame of the past: facts in memory, tensors as bytes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rmnet.tracking.estimate import Estimate, Given
from rmnet.tracking.last_frame import Box, LastFrame


@dataclass(frozen=True, slots=True)
class PastFrame:
    """A `LastFrame` without its tensors, which are bytes elsewhere: its record.

    A record holds the predictions (float32), the pixels (uint8), and the masks and void of given
    objects (bool).

    Attributes:
        index: Number of the frame in its video, from 0.
        video_size: (H, W) of the video, in pixels.
        network_size: (h, w) inside the network, in pixels.
        object_ids: Ids of the objects in the record.
        given_ids: Ids of the objects whose masks were given on this frame; None without any.
        regions: See `LastFrame`.
        seconds: See `LastFrame`.
        removed: Ids of those of the objects that have been removed since.
    """

    index: int
    video_size: tuple[int, int]
    network_size: tuple[int, int]
    object_ids: tuple[int, ...]
    given_ids: tuple[int, ...] | None
    regions: dict[int, Box]
    seconds: float | None
    removed: frozenset[int] = frozenset()

    @classmethod
    def pack(cls, frame: LastFrame) -> tuple[PastFrame, list[Tensor]]:
        """Return the facts of a frame, and the tensors that follow each other in its record."""
        parts = [frame.estimate.predicted.cpu(), frame.pixels.cpu()]
        given = frame.estimate.given
        if given is not None:
            parts += [given.masks, given.void]
        past = cls(
            index=frame.index,
            video_size=frame.video_size,
            network_size=frame.network_size,
            object_ids=frame.estimate.object_ids,
            given_ids=None if given is None else given.object_ids,
            regions=frame.regions,
            seconds=frame.seconds,
        )
        return past, [x.contiguous().view(-1).view(torch.uint8) for x in parts]

    def unpack(self, record: Tensor, device: torch.device) -> LastFrame:
        """Return the frame again, from its record (`num_bytes`,) uint8, which is copied."""
        predicted, pixels, given_bytes = record.clone().split(self._part_sizes())
        given = None
        if self.given_ids is not None:
            # Compared, because the byte of a bool in a crafted file may be neither 0 nor 1.
            masks, void = (given_bytes != 0).view(2, len(self.given_ids), *self.video_size)
            given = Given(self.given_ids, masks, void)
        shape = (len(self.object_ids), *self.network_size)
        predicted = predicted.view(torch.float32).view(shape).to(device)
        estimate = Estimate(self.object_ids, predicted, given)
        return LastFrame(
            index=self.index,
            pixels=pixels.view(3, *self.network_size).to(device),
            video_size=self.video_size,
            estimate=estimate.remove(self.removed) if self.removed else estimate,
            regions=self.regions,
            seconds=self.seconds,
        )

    @property
    def num_bytes(self) -> int:
        """Length of the record."""
        return sum(self._part_sizes())

    def _part_sizes(self) -> list[int]:
        """Return the bytes of the predictions, the pixels, and the given masks."""
        num_pixels = self.network_size[0] * self.network_size[1]
        num_given = len(self.given_ids or ()) * self.video_size[0] * self.video_size[1]
        return [4 * len(self.object_ids) * num_pixels, 3 * num_pixels, 2 * num_given]
