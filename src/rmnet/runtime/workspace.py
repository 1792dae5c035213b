"""Memory for activations that is kept from frame to frame.

A step's activations are many, large and short-lived. From the C library they would come at other
addresses each time, in between what stays: the heap would be half holes, and pages would be given
back and faulted in anew.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from math import prod

import torch
from torch import Tensor

# Floats of a slab. So many that the C library maps each by itself (glibc: from 32 MiB on), apart
# from the heap, whose holes activations would not fit into. Untouched pages take no memory.
SLAB = 32 << 20
LINE = 16  # floats of a cache line


class Workspace:
    """A stack of tensors, for one thread at a time.

    Inside `with workspace.scope():` the functions below take memory from it. The end of the scope
    gives all of that memory back at once, so its tensors must not be used any more.
    """

    def __init__(self) -> None:
        self._slabs: list[Tensor] = []
        self._place = 0, 0  # slab, floats of it in use

    @classmethod
    def of_this_thread(cls) -> Workspace:
        """Return the workspace of this thread, which lives for as long as somebody holds it."""
        shared: Workspace | None = getattr(_shared, "workspace", lambda: None)()
        if shared is None:
            shared = cls()
            _shared.workspace = weakref.ref(shared)
        return shared

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Take activations from here. May be nested: memory taken outside stays taken."""
        place, token = self._place, _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)
            self._place = place

    def take(self, size: int) -> Tensor:
        """Take uninitialised numbers, (size,) float32."""
        slab, start = self._find(size)
        self._place = slab, start + -(-size // LINE) * LINE
        return self._slabs[slab][start : start + size]

    def rest(self) -> Tensor:
        """Return memory to use until the next `take`, (size,) float32, at least half a slab."""
        slab, start = self._find(SLAB // 2)
        return self._slabs[slab][start:]

    def _find(self, size: int) -> tuple[int, int]:
        """Return the slab, perhaps a new one, and the place in it with enough room."""
        slab, start = self._place
        while slab < len(self._slabs) and start + size > self._slabs[slab].numel():
            slab, start = slab + 1, 0
        if slab == len(self._slabs):
            self._slabs.append(torch.empty(max(size, SLAB), dtype=torch.float32, device="cpu"))
        return slab, start


_shared = threading.local()  # .workspace: a weak reference
_current: ContextVar[Workspace | None] = ContextVar("workspace", default=None)


def new_activation(shape: Sequence[int]) -> Tensor:
    """Return uninitialised (B, C, H, W) float32 on the CPU, channels-last; outside a scope, new."""
    batch, channels, height, width = shape
    workspace = _current.get()
    if workspace is None:
        floats = torch.empty(prod(shape), dtype=torch.float32, device="cpu")
    else:
        floats = workspace.take(prod(shape))
    return floats.view(batch, height, width, channels).movedim(-1, 1)


def new_zeros(shape: Sequence[int], like: Tensor) -> Tensor:
    """Return zeros of the device and dtype of `like`, in the workspace if float32 on the CPU."""
    workspace = _current.get()
    if workspace is None or like.device.type != "cpu" or like.dtype != torch.float32:
        return like.new_zeros(tuple(shape))
    return workspace.take(prod(shape)).view(tuple(shape)).zero_()


def scratch() -> Tensor | None:
    """Return scratch memory for one operation, (size,) float32; None outside of a scope."""
    workspace = _current.get()
    return None if workspace is None else workspace.rest()


def temporaries() -> AbstractContextManager[None]:
    """Return a scope that gives back the memory taken inside; does nothing outside of another."""
    workspace = _current.get()
    return nullcontext() if workspace is None else workspace.scope()
