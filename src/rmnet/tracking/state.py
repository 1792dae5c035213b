"""The state of a session: plain values that pass between its steps and its file."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rmnet.options import TrackingOptions
from rmnet.tracking.history import History
from rmnet.tracking.last_frame import LastFrame
from rmnet.tracking.memory import MemoryBank


@dataclass(frozen=True, slots=True, eq=False)
class SessionState:
    """Everything the next step needs, apart from the weights.

    Attributes:
        options: How the video is tracked; `size` is resolved.
        bank: Past frames. The only part that is changed in place.
        next_index: Number of the frame to come.
        history: The frames before the last one that can be returned to.
        last: The last frame that could be read; None before the first.
    """

    options: TrackingOptions
    bank: MemoryBank
    next_index: int
    history: History
    last: LastFrame | None = None

    @classmethod
    def fresh(cls, options: TrackingOptions, first_index: int) -> SessionState:
        """Return the state before the first frame."""
        return cls(options, MemoryBank(options.memory), first_index, History(options.history))

    @property
    def object_ids(self) -> tuple[int, ...]:
        """Ids of the objects being tracked, in the order they were given."""
        return () if self.last is None else self.last.estimate.object_ids

    def history_for(self, frame: LastFrame) -> History:
        """Return the history once `frame` is the last one: the next frame, or the last, changed."""
        history, last = self.history, self.last
        if last is not None and last.index < frame.index:
            history = history.with_frame(last)
        removed = frozenset(self.object_ids).difference(frame.estimate.object_ids)
        return history.without(removed) if removed else history

    def with_last(self, frame: LastFrame, history: History) -> SessionState:
        """Return the state in which `frame` is the last one; the bank gets its objects, in place."""
        ids = frame.estimate.object_ids
        stay = [row for row, i in enumerate(self.object_ids) if i in ids]
        if len(stay) < len(self.object_ids):
            self.bank.keep_objects(stay)
        self.bank.add_objects(len(ids) - len(stay))
        # A correction is of a frame that has been counted, perhaps with skipped ones after it.
        next_index = max(self.next_index, frame.index + 1)
        return replace(self, next_index=next_index, history=history, last=frame)

    def without_history(self) -> SessionState:
        """Return the state that goes back no further than its last frame."""
        return replace(self, history=History(self.options.history))
