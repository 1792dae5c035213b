"""Memory for activations that is kept from frame to frame.

A step's activations are many and large, and each lives but a moment. From the C library they would
come in other places each time, in between what stays: the heap would be half holes, and pages
given back and faulted in anew.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from math import prod

import torch
from torch import Tensor

# Floats. So many that the C library maps each slab by itself (glibc: from 32 MiB on), apart from the
# heap, whose holes activations would not fit into; pages that are never touched take no memory.
SLAB = 32 << 20
LINE = 16


class Workspace:
    """A stack of tensors in memory of its own, for one thread at a time.

    In `with workspace.scope():` the functions below take from it, until the scope ends: then all of
    that scope's tensors are given back at once, and must not be used any more.
    """

    def __init__(self) -> None:
        self._slabs: list[Tensor] = []
        self._place = 0, 0  # slab, floats of it in use

    @classmethod
    def of_this_thread(cls) -> Workspace:
        """The one that all of a thread's sessions share, for as long as one of them holds it."""
        shared: Workspace | None = getattr(_shared, "workspace", lambda: None)()
        if shared is None:
            shared = cls()
            _shared.workspace = weakref.ref(shared)
        return shared

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Take activations from here. May be nested: what was taken outside stays."""
        place, token = self._place, _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)
            self._place = place

    def take(self, size: int) -> Tensor:
        """So many numbers, (size,) float32, of no particular value."""
        slab, start = self._find(size)
        self._place = slab, start + -(-size // LINE) * LINE
        return self._slabs[slab][start : start + size]

    def rest(self) -> Tensor:
        """What can be used until the next `take`, (size,) float32, at least half a slab."""
        slab, start = self._find(SLAB // 2)
        return self._slabs[slab][start:]

    def _find(self, size: int) -> tuple[int, int]:
        """A slab, perhaps a new one, and where in it there is so much room."""
        slab, start = self._place
        while slab < len(self._slabs) and start + size > self._slabs[slab].numel():
            slab, start = slab + 1, 0
        if slab == len(self._slabs):
            self._slabs.append(torch.empty(max(size, SLAB), dtype=torch.float32, device="cpu"))
        return slab, start


_shared = threading.local()  # .workspace: a weak reference
_current: ContextVar[Workspace | None] = ContextVar("workspace", default=None)


def new_activation(shape: Sequence[int]) -> Tensor:
    """(B, C, H, W) float32 on the CPU, channels-last: of the scope's workspace, or else new."""
    batch, channels, height, width = shape
    workspace = _current.get()
    if workspace is None:
        return torch.empty(
            tuple(shape), dtype=torch.float32, device="cpu", memory_format=torch.channels_last
        )
    return workspace.take(prod(shape)).view(batch, height, width, channels).movedim(-1, 1)


def new_zeros(shape: Sequence[int], like: Tensor) -> Tensor:
    """Zeros of any shape, of the device and dtype of another: likewise, if float32 on the CPU."""
    workspace = _current.get()
    if workspace is None or like.device.type != "cpu" or like.dtype != torch.float32:
        return like.new_zeros(tuple(shape))
    return workspace.take(prod(shape)).view(tuple(shape)).zero_()


def scratch() -> Tensor | None:
    """Scratch for one operation, (size,) float32; None without a workspace."""
    workspace = _current.get()
    return None if workspace is None else workspace.rest()


@contextmanager
def temporaries() -> Iterator[None]:
    """Give back at its end what is taken inside, if there is a workspace."""
    workspace = _current.get()
    if workspace is None:
        yield
        return
    with workspace.scope():
        yield
