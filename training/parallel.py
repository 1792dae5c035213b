"""Several processes that train one network, each on its part of every batch.

Where a machine is shared, two processes of one thread each go on steadily; one process of two
threads waits at every small operation for whichever thread was pushed aside (ten times slower
when that was measured).
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn


@dataclass(frozen=True)
class Part:
    """Which of `parts` processes this is; number 0 writes the files."""

    number: int = 0
    parts: int = 1

    def share(self, batch: int) -> int:
        """Clips this process makes of a batch; all make as many."""
        return -(-batch // self.parts)

    def average_gradients(self, module: nn.Module) -> None:
        """Put the mean over all processes in the place of every gradient."""
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
        """Whether it is so in any process: all leave at the same step, or they would wait."""
        if self.parts == 1:
            return here
        count = torch.tensor([float(here)])
        dist.all_reduce(count)
        return bool(count > 0)


WHOLE = Part()


class StopSignals:
    """SIGTERM and Ctrl-C as a wish to stop: the run saves and leaves after its present step."""

    def __init__(self) -> None:
        """Nobody has asked yet."""
        self.asked = False
        self._old: dict[int, object] = {}

    def __enter__(self) -> StopSignals:
        """Listen; a second Ctrl-C ends the process at once."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._old[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        """Listen no longer."""
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True


def run_parts(work: Callable[[Part], None], parts: int) -> None:
    """Call `work` in `parts` processes, which share what was read before; in this one if 1."""
    if parts == 1:
        work(WHOLE)
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Forked, so that the images are in memory once.
    context = mp.start_processes(
        _enter, (work, parts, port), nprocs=parts, join=False, start_method="fork"
    )

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
    # Ctrl-C reaches the whole process group: the parent passes it on, and once is enough.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    dist.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=number, world_size=parts
    )
    try:
        work(Part(number, parts))
    finally:
        dist.destroy_process_group()
