"""Sessions that are fed a video in the order of a propagation."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from rmnet.compat.sam2.frames import VideoFrames
from rmnet.compat.sam2.logits import competing_logits, pack
from rmnet.compat.sam2.prompts import PromptsByFrame, visible_masks
from rmnet.errors import SessionError
from rmnet.results import FrameSegmentation
from rmnet.tracking import TrackingSession


@dataclass(frozen=True, slots=True, eq=False)
class OrderedVideo:
    """A video and its prompts in one direction. Positions count from its beginning, or its end.

    Attributes:
        frames: The frames by number.
        prompts: The prompts by frame number.
        reverse: Whether position 0 is the last frame.
    """

    frames: VideoFrames
    prompts: PromptsByFrame
    reverse: bool

    def position(self, frame: int) -> int:
        """Return the position of a frame, or the frame at a position."""
        return self.frames.num_frames - 1 - frame if self.reverse else frame

    def read(self, position: int) -> NDArray[np.uint8]:
        """Return the pixels of a frame."""
        return self.frames.read(self.position(position))

    def masks(self, position: int, known: tuple[int, ...]) -> dict[int, NDArray[np.bool_]] | None:
        """Return the masks given on a frame; None without any."""
        return visible_masks(self.prompts.get(self.position(position), {}), known) or None

    def first_positions(self) -> dict[int, int]:
        """Return object -> position of its first mask that is not empty."""
        first: dict[int, int] = {}
        for position in sorted(map(self.position, self.prompts)):
            for number, prompt in self.prompts[self.position(position)].items():
                if not prompt.is_empty:
                    first.setdefault(number, position)
        return first

    def first_change(self, other: OrderedVideo) -> int:
        """Return the first position where the prompts differ; the video's length if none do."""
        return min(
            (
                self.position(frame)
                for frame in {*self.prompts, *other.prompts}
                if dict(self.prompts.get(frame, {})) != dict(other.prompts.get(frame, {}))
            ),
            default=self.frames.num_frames,
        )

    def turned(self, objects: Collection[int], until: int) -> OrderedVideo:
        """Return the other direction, with the prompts of some objects up to a position of this."""
        prompts = {
            frame: {i: one for i, one in given.items() if i in objects}
            for frame, given in self.prompts.items()
            if self.position(frame) <= until
        }
        return replace(self, prompts=prompts, reverse=not self.reverse)


@dataclass(slots=True, eq=False)
class Pass:
    """A session that is fed an ordered video, whose positions are its frame numbers."""

    video: OrderedVideo
    session: TrackingSession

    @classmethod
    def begin(cls, video: OrderedVideo, start: Callable[[int], TrackingSession]) -> Pass:
        """Start a session at the first prompt; `start` takes the number of the first frame."""
        return cls(video, start(min(video.first_positions().values())))

    def resumed(self, video: OrderedVideo, first: int) -> Pass | None:
        """Return a pass that goes on up to a position and beyond, maybe with other prompts.

        None if the session has seen a frame that is to be tracked again.

        The session is taken over.
        """
        last = self.session.frame_index
        if last is None or video.reverse != self.video.reverse:
            return None
        keep = min(first, video.first_change(self.video)) - 1
        if keep < 0:
            return None
        if keep < last:
            try:
                self.session.rewind(keep)
            except SessionError:  # before its first frame, or no longer kept
                return None
        return Pass(video, self.session)

    def next_position(self) -> int:
        """Return the position of the next frame."""
        last = self.session.frame_index
        return min(self.video.first_positions().values()) if last is None else last + 1

    def step(self) -> FrameSegmentation:
        """Segment the next frame."""
        position = self.next_position()
        masks = self.video.masks(position, self.session.objects)
        return self.session.step(self.video.read(position), masks)


def track_back(
    video: OrderedVideo,
    start: Callable[[int], TrackingSession],
    objects: Collection[int],
    first: int,
    device: torch.device,
) -> dict[int, dict[int, bytes]]:
    """Track objects from their first prompts back to an earlier position.

    Args:
        video: Video in the order of the propagation.
        start: Function from the number of the first frame to a session.
        objects: Objects whose first prompts come after `first`.
        first: Position to reach.
        device: Device on which logits are computed.

    Returns:
        Frame -> object -> packed logits, for the frames from `first` up to each object's prompt.
    """
    prompted = {i: at for i, at in video.first_positions().items() if i in objects}
    last = max(prompted.values())
    back = Pass.begin(video.turned(objects, until=last), start)
    found: dict[int, dict[int, bytes]] = {}
    for position in range(last, first - 1, -1):
        result = back.step()
        rows = zip(result.object_ids, competing_logits(result, device), strict=True)
        found[video.position(position)] = {
            i: pack(row) for i, row in rows if position < prompted[i]
        }
    return found
