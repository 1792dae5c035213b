"""The memory bank: keys and values of past frames, written in place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from rmnet.options import MemoryPolicy
from rmnet.runtime import MemoryView

FREE = -1  # the frame of a slot that is to be written next
FIRST_SLOTS = 4  # initial capacity in frames; doubled when full, up to the policy's bound


class Slot(NamedTuple):
    """The frame that a slot holds."""

    frame: int  # FREE if there is none
    keep: bool  # whether it stays when the next frame is written
    pinned: bool  # whether masks were given on it, so that it goes last


@dataclass(frozen=True, slots=True)
class MemoryStats:
    """The contents of a session's memory.

    Attributes:
        frames: Numbers of the frames held, ascending.
        pinned_frames: Numbers of the frames with given masks, which go last; ascending.
        num_bytes: Size of the storage for keys and values, free slots included.
    """

    frames: tuple[int, ...]
    pinned_frames: tuple[int, ...]
    num_bytes: int


class MemoryBank:
    """Memory frames of one session, at most `policy.max_frames` of them.

    A slot holds one frame of all objects. The order of slots does not matter to the read, so a new
    frame takes the slot of the one it replaces, and nothing is moved.
    """

    def __init__(self, policy: MemoryPolicy) -> None:
        self._policy = policy
        self._slots: list[Slot] = []
        self._storage: MemoryView | None = None

    @classmethod
    def restore(cls, policy: MemoryPolicy, slots: Sequence[Slot], view: MemoryView) -> MemoryBank:
        """Rebuild a bank from its policy, its T > 0 `slots` and its `view()`, which is copied."""
        bank = cls(policy)
        bank._slots = list(slots)
        bank._storage = bank._with_room(view)
        return bank

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The slots in use, in the order of the view."""
        return tuple(self._slots)

    def stats(self) -> MemoryStats:
        """Return which frames are held, and the size of the storage."""
        return MemoryStats(
            frames=tuple(sorted(slot.frame for slot in self._slots if slot.frame != FREE)),
            pinned_frames=tuple(sorted(slot.frame for slot in self._slots if slot.pinned)),
            num_bytes=0 if self._storage is None else sum(x.nbytes for x in self._storage),
        )

    def write(self, frame: int, key: Tensor, value: Tensor, boxes: Tensor, *, given: bool) -> None:
        """Remember a frame; it replaces the last one, unless that one stays.

        Args:
            frame: Number of the frame: that of the last one, or a larger one.
            key: (n, h, w, ck).
            value: (n, h, w, cv).
            boxes: (n, 4) int32, in cells.
            given: Whether masks were given on this frame.
        """
        if self._storage is None:
            self._storage = MemoryView(
                key=key.new_empty((len(key), 0, *key.shape[1:])),
                value=value.new_empty((len(key), 0, *value.shape[1:])),
                boxes=boxes.new_empty((len(key), 0, 4)),
                present=torch.empty((len(key), 0), dtype=torch.bool, device=key.device),
            )
        number = self._free_slot(frame)
        self._slots[number] = Slot(frame, given or frame % self._policy.every == 0, given)
        if len(self._slots) > self._storage.present.shape[1]:
            self._storage = self._with_room(self._storage)
        for stored, new in zip(self._storage, (key, value, boxes, True), strict=True):
            stored[:, number] = new

    def view(self) -> MemoryView:
        """Return the contents of the slots in use, without a copy."""
        if self._storage is None:
            raise ValueError("the memory is empty; write a frame first")
        return MemoryView(*(x[:, : len(self._slots)] for x in self._storage))

    def before(self, frame: int, *, num_objects: int) -> MemoryBank:
        """Return a copy as it was before `frame` was written, when it had fewer objects.

        Frames dropped since are missing. The frame just before this one is missing, too, unless it
        stayed, because the slot was to be overwritten by this one.

        Args:
            frame: Number of a frame that has been written.
            num_objects: Number of objects then, which are the first of those of today.
        """
        # The slot of this frame, or that of the first later one that took it over.
        place = min((slot.frame for slot in self._slots if slot.frame >= frame), default=FREE)
        chosen = [
            (number, slot if slot.frame < frame else Slot(FREE, keep=False, pinned=False))
            for number, slot in enumerate(self._slots)
            if slot.frame == place or (slot.frame < frame and slot.keep)
        ]
        # The order of slots decides the last bits of the read. At the end, no place is needed.
        if chosen and chosen[-1][1].frame == FREE:
            chosen.pop()
        if not chosen or not num_objects:
            return MemoryBank(self._policy)
        numbers, slots = zip(*chosen, strict=True)
        view = MemoryView(*(_with_slots(x[:num_objects], numbers) for x in self.view()))
        return MemoryBank.restore(self._policy, slots, view)

    def add_objects(self, count: int) -> None:
        """Append `count` objects that are absent from every frame so far."""
        if count and self._storage is not None:
            n = self._storage.present.shape[0]
            self._storage = MemoryView(*(_with_objects(x, n + count) for x in self._storage))

    def keep_objects(self, rows: list[int]) -> None:
        """Keep these objects, in this order, and the frames in which one of them is present."""
        if self._storage is None:
            return
        index = torch.tensor(rows, dtype=torch.long, device=self._storage.present.device)
        storage = MemoryView(*(x.index_select(0, index) for x in self._storage))
        in_use = storage.present[:, : len(self._slots)].any(dim=0).tolist()
        numbers = [number for number, used in enumerate(in_use) if used]
        if 0 < len(numbers) < len(in_use):
            order = torch.tensor(numbers, device=index.device)
            storage = self._with_room(MemoryView(*(x.index_select(1, order) for x in storage)))
        # Assigned last: an allocation above may have failed, and then nothing has changed.
        self._slots = [self._slots[number] for number in numbers]
        self._storage = storage if numbers else None

    def _free_slot(self, frame: int) -> int:
        """Return the slot to write: the one to overwrite, a new one, or the least needed one."""
        for number, slot in enumerate(self._slots):
            if not slot.keep or slot.frame == frame:
                return number
        bound = self._policy.max_frames
        if bound is None or len(self._slots) < bound:
            self._slots.append(Slot(frame, keep=False, pinned=False))
            return len(self._slots) - 1
        return _least_needed(self._slots)

    def _with_room(self, view: MemoryView) -> MemoryView:
        """Copy to storage for all slots. Its size is doubled at a time, so that this is rare."""
        room = FIRST_SLOTS
        while room < len(self._slots):
            room *= 2
        room = min(room, self._policy.max_frames or room)
        # Pages of free slots stay untouched, and take no memory.
        storage = MemoryView(*(x.new_empty((len(x), room, *x.shape[2:])) for x in view))
        for new, old in zip(storage, view, strict=True):
            new[:, : old.shape[1]] = old
        return storage


def _with_objects(x: Tensor, count: int) -> Tensor:
    """Return a copy (count, ...) with zeros for the objects appended."""
    grown = x.new_zeros((count, *x.shape[1:]))
    grown[: len(x)] = x
    return grown


def _with_slots(x: Tensor, numbers: Sequence[int]) -> Tensor:
    """Return the slots of these numbers, ascending; not as a copy if they are the first ones."""
    if numbers[-1] == len(numbers) - 1:
        return x[:, : len(numbers)]
    return x.index_select(1, torch.tensor(numbers, device=x.device))


def _least_needed(slots: list[Slot]) -> int:
    """Return the slot of the frame whose neighbours in time are nearest to each other.

    The first frame is never chosen; frames with given masks only if nothing else is left; the
    newest frame only before those, since its later neighbour is still to come.
    """
    by_time = sorted(range(len(slots)), key=lambda index: slots[index].frame)
    gaps = {
        by_time[i]: slots[by_time[i + 1]].frame - slots[by_time[i - 1]].frame
        for i in range(1, len(by_time) - 1)
    }
    if not gaps:  # two slots: the first frame stays
        return by_time[-1]
    unpinned = {index: gap for index, gap in gaps.items() if not slots[index].pinned}
    if not unpinned and not slots[by_time[-1]].pinned:
        return by_time[-1]
    candidates = unpinned or gaps
    return min(candidates, key=lambda index: (candidates[index], slots[index].frame))
