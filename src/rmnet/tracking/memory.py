"""The memory bank: keys and values of past frames, written in place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from rmnet.options import MemoryPolicy

FIRST_SLOTS = 4  # frames of room at first; doubled when full, up to the policy's bound


class MemoryView(NamedTuple):
    """What the bank holds now, for n objects and T frames, in no particular order of time.

    key (n, T, h, w, ck), value (n, T, h, w, cv), boxes (n, T, 4) int32 cells, present (n, T) bool:
    whether the object existed in that frame.
    """

    key: Tensor
    value: Tensor
    boxes: Tensor
    present: Tensor


@dataclass(slots=True)
class Slot:
    """Which frame a slot holds, and for how long."""

    frame: int
    keep: bool
    pinned: bool


class MemoryBank:
    """Memory frames of one session, at most `policy.max_frames` of them.

    A slot is one frame of all objects; which slot holds which frame does not matter to the read,
    so a frame that goes leaves its slot to the one that comes, and nothing is moved.
    """

    def __init__(self, policy: MemoryPolicy) -> None:
        self._policy = policy
        self._slots: list[Slot] = []
        self._storage: MemoryView | None = None

    @classmethod
    def restore(cls, policy: MemoryPolicy, slots: Sequence[Slot], view: MemoryView) -> MemoryBank:
        """A bank that holds what another one did; `view` is copied.

        Args:
            policy: Of the other one.
            slots: Its `slots`, T > 0 of them, at most as many as the policy allows.
            view: Its `view()`.
        """
        bank = cls(policy)
        room = FIRST_SLOTS
        while room < len(slots):
            room *= 2
        room = room if policy.max_frames is None else min(room, policy.max_frames)
        bank._slots = [replace(slot) for slot in slots]
        bank._storage = MemoryView(*(_with_room(x, room) for x in view))
        return bank

    @property
    def policy(self) -> MemoryPolicy:
        """Which frames it remembers."""
        return self._policy

    @property
    def slots(self) -> tuple[Slot, ...]:
        """Which frame each slot of the view holds."""
        return tuple(replace(slot) for slot in self._slots)

    @property
    def frames(self) -> tuple[int, ...]:
        """Numbers of the frames held, ascending."""
        return tuple(sorted(slot.frame for slot in self._slots))

    @property
    def pinned_frames(self) -> tuple[int, ...]:
        """Numbers of the frames on which masks were given, ascending."""
        return tuple(sorted(slot.frame for slot in self._slots if slot.pinned))

    @property
    def num_bytes(self) -> int:
        """Size of the storage, free slots included."""
        return 0 if self._storage is None else sum(x.nbytes for x in self._storage)

    def write(
        self,
        frame: int,
        key: Tensor,
        value: Tensor,
        boxes: Tensor,
        *,
        given: bool,
    ) -> None:
        """Remember a frame, in place of the last one unless that one stays.

        Args:
            frame: Its number: the last one again, which is replaced, or a larger one.
            key: (n, h, w, ck).
            value: (n, h, w, cv).
            boxes: (n, 4) int32 cells.
            given: Whether objects were given on this frame.
        """
        slot = self._free_slot(frame)
        keep = given or frame % self._policy.every == 0
        self._slots[slot] = Slot(frame, keep=keep, pinned=given)
        storage = self._room_for(key, value)
        storage.key[:, slot] = key
        storage.value[:, slot] = value
        storage.boxes[:, slot] = boxes
        storage.present[:, slot] = True

    def view(self) -> MemoryView:
        """The slots in use, without a copy; there must have been a write."""
        if self._storage is None:
            raise ValueError("nothing is in memory yet; write a frame first")
        used = len(self._slots)
        return MemoryView(*(x[:, :used] for x in self._storage))

    def add_objects(self, count: int) -> None:
        """Make room for `count` more objects, last, absent from every frame so far."""
        if count and self._storage is not None:
            n = self._storage.present.shape[0]
            self._storage = MemoryView(*(_with_objects(x, n + count) for x in self._storage))

    def keep_objects(self, rows: list[int]) -> None:
        """Keep only these objects, in this order, and only frames that have one of them."""
        if self._storage is None:
            return
        index = torch.tensor(rows, dtype=torch.long, device=self._storage.present.device)
        storage = MemoryView(*(x.index_select(0, index) for x in self._storage))
        in_use = storage.present[:, : len(self._slots)].any(dim=0).tolist()
        slots = [number for number, used in enumerate(in_use) if used]
        if 0 < len(slots) < len(in_use):
            order = torch.tensor(slots, device=index.device)
            room = self._storage.present.shape[1]
            storage = MemoryView(*(_with_room(x.index_select(1, order), room) for x in storage))
        # Only now, when nothing can fail any more: memory may have been full until here.
        self._slots = [self._slots[number] for number in slots]
        self._storage = storage if slots else None

    def _free_slot(self, frame: int) -> int:
        """The slot to write: the one to be overwritten, a new one, or a victim's."""
        for index, slot in enumerate(self._slots):
            if not slot.keep or slot.frame == frame:
                return index
        bound = self._policy.max_frames
        if bound is None or len(self._slots) < bound:
            self._slots.append(Slot(-1, keep=False, pinned=False))
            return len(self._slots) - 1
        return _victim(self._slots)

    def _room_for(self, key: Tensor, value: Tensor) -> MemoryView:
        """The storage, with room for every slot; grown by doubling, so rarely."""
        needed = len(self._slots)
        if self._storage is not None and needed <= self._storage.present.shape[1]:
            return self._storage
        bound = self._policy.max_frames
        room = FIRST_SLOTS if self._storage is None else 2 * self._storage.present.shape[1]
        room = room if bound is None else min(room, bound)
        if self._storage is None:
            n = key.shape[0]
            self._storage = MemoryView(
                key=key.new_empty((n, room, *key.shape[1:])),
                value=value.new_empty((n, room, *value.shape[1:])),
                boxes=torch.zeros((n, room, 4), dtype=torch.int32, device=key.device),
                present=torch.zeros((n, room), dtype=torch.bool, device=key.device),
            )
        else:
            self._storage = MemoryView(*(_with_room(x, room) for x in self._storage))
        return self._storage


def _with_objects(x: Tensor, count: int) -> Tensor:
    """A copy (count, ...) with zeros for objects that come last."""
    grown = x.new_zeros((count, *x.shape[1:]))
    grown[: len(x)] = x
    return grown


def _with_room(x: Tensor, slots: int) -> Tensor:
    """A copy (n, slots, ...); what is not yet in use is not touched, and so takes no memory."""
    grown = x.new_empty((len(x), slots, *x.shape[2:]))
    grown[:, : x.shape[1]] = x
    return grown


def _victim(slots: list[Slot]) -> int:
    """The slot whose frame is missed least: its neighbours in time are nearest to each other.

    The newest frame goes only before frames with given masks: the one to come is its neighbour.
    Those go when nothing else is left, and the first frame never.
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
