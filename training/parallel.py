"""Several processes that train one network, each on its part of every batch.

On a shared machine, two processes of one thread each run steadily. One process of two threads waits
at every small operation for the thread that was preempted: ten times slower when measured.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.multiprocessing.spawn import start_processes


@dataclass(frozen=True)
class Part:
    """The share of one of `parts` processes; process number 0 writes the files."""

    number: int = 0
    parts: int = 1

    def share(self, batch: int) -> int:
        """Return the number of clips of a batch that each process makes."""
        return -(-batch // self.parts)

    def average_gradients(self, module: nn.Module) -> None:
        """Replace every gradient by its mean over all processes."""
        if self.parts == 1:
            return
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.parts
        for gradient, mean in zip(
            gradients, flat.split([g.numel() for g in gradients]), strict=True
        ):
            gradient.copy_(mean.view_as(gradient))

    def any(self, here: bool) -> bool:
        """Return whether `here` holds in any process, so that all leave at the same step."""
        if self.parts == 1:
            return here
        count = torch.tensor([float(here)])
        dist.all_reduce(count)
        return bool(count > 0)


WHOLE = Part()


class StopSignals:
    """Takes SIGTERM and Ctrl-C as a request to save and leave after the current step."""

    def __init__(self) -> None:
        """Start without a request."""
        self.asked = False
        self._old: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        """Handle both signals; a second Ctrl-C ends the process at once."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._old[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        """Restore the previous handlers."""
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True


def run_parts(work: Callable[[Part], None], parts: int) -> None:
    """Call `work` in `parts` processes that share the memory of this one, or in this one if 1."""
    if parts == 1:
        work(WHOLE)
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Forked, so that the images are in memory once.
    context = start_processes(
        _enter, (work, parts, port), nprocs=parts, join=False, start_method="fork"
    )
    assert context is not None  # since join=False

    def pass_on(number: int, frame: FrameType | None) -> None:
        for pid in context.pids():
            os.kill(pid, signal.SIGTERM)

    old = [signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGINT)]
    try:
        while not context.join():
            pass
    finally:
        for number, handler in zip((signal.SIGTERM, signal.SIGINT), old, strict=True):
            signal.signal(number, handler)


def _enter(number: int, work: Callable[[Part], None], parts: int, port: int) -> None:
    # Ctrl-C reaches the whole process group, and the parent passes it on: once is enough.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    dist.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=number, world_size=parts
    )
    try:
        work(Part(number, parts))
    finally:
        dist.destroy_process_group()
