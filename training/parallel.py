"""Several processes that train one network, each on its part of every batch.

Where a machine is shared, two processes of one thread each go on steadily; one process of two
threads waits at every small operation for whichever thread was pushed aside (ten times slower
when that was measured).
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass

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


WHOLE = Part()


def run_parts(work: Callable[[Part], None], parts: int) -> None:
    """Call `work` in `parts` processes, which share what was read before; in this one if 1."""
    if parts == 1:
        work(WHOLE)
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Forked, so that the images are in memory once.
    mp.start_processes(_enter, (work, parts, port), nprocs=parts, start_method="fork")


def _enter(number: int, work: Callable[[Part], None], parts: int, port: int) -> None:
    # torch interrupts these when their parent dies; a shell's `&` would have them ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    dist.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=number, world_size=parts
    )
    try:
        work(Part(number, parts))
    finally:
        dist.destroy_process_group()
