"""Which pass over a video answers which object in which frame."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

Direction = Literal["forward", "backward", "both"]


class Answers(NamedTuple):
    """Ids of the objects of a frame, by the pass that answers them."""

    forward: tuple[int, ...]
    backward: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of up to two passes; made by `make`.

    Each object of a frame is answered from the nearest of its masks, of equally near ones from the
    earlier: by the forward pass if that mask is earlier or of this very frame, else by the backward
    pass. A pass visits the frames in which it answers an object, and the masks on the way to them,
    so that it has seen every mask it could have seen. An unbroken run of such frames begins at a
    mask, and an object is answered in an unbroken run from its mask on.

    Attributes:
        forward: Object id -> frames of its masks in the forward pass, ascending.
        backward: The same of the backward pass.
        backward_frames: Frames that the backward pass visits, descending. The forward pass visits
            those in which it answers an object, since it answers every mask.
        is_mixed: Whether in some frame both passes answer objects.
    """

    forward: Mapping[int, tuple[int, ...]]
    backward: Mapping[int, tuple[int, ...]]
    backward_frames: tuple[int, ...] = ()
    is_mixed: bool = False

    @classmethod
    def make(
        cls, forward: Mapping[int, Collection[int]], backward: Mapping[int, Collection[int]]
    ) -> Plan:
        """Plan the passes.

        Args:
            forward: Frame -> ids of the objects that the forward pass is given there; empty for
                no such pass.
            backward: The same of the backward pass.
        """
        draft = cls(_by_object(forward), _by_object(backward))
        visited: list[int] = []
        is_mixed = is_needed = False
        for frame in range(max(backward, default=-1) + 1):
            answers = draft.answers(frame)
            is_needed = is_needed or bool(answers.backward)
            is_mixed = is_mixed or bool(answers.forward and answers.backward)
            if answers.backward or (is_needed and frame in backward):
                visited.append(frame)
        return cls(draft.forward, draft.backward, tuple(reversed(visited)), is_mixed)

    def answers(self, frame: int) -> Answers:
        """Return the ids of the objects of a frame by pass; objects without an answer are absent."""
        ahead = {i: frame - f for i, masks in self.forward.items() for f in _last(masks, frame)}
        behind = {i: b - frame for i, masks in self.backward.items() for b in _next(masks, frame)}
        return Answers(
            tuple(i for i in ahead if i not in behind or ahead[i] <= behind[i]),
            tuple(i for i in behind if i not in ahead or behind[i] < ahead[i]),
        )


def _by_object(ids_by_frame: Mapping[int, Collection[int]]) -> dict[int, tuple[int, ...]]:
    frames: dict[int, list[int]] = {}
    for frame in sorted(ids_by_frame):
        for i in ids_by_frame[frame]:
            frames.setdefault(i, []).append(frame)
    return {i: tuple(numbers) for i, numbers in frames.items()}


def _last(frames: tuple[int, ...], frame: int) -> tuple[int, ...]:
    """Return the last of some frames that is not after `frame`, if there is one."""
    end = bisect_right(frames, frame)
    return frames[max(0, end - 1) : end]


def _next(frames: tuple[int, ...], frame: int) -> tuple[int, ...]:
    """Return the first of some frames that is not before `frame`, if there is one."""
    start = bisect_left(frames, frame)
    return frames[start : start + 1]
