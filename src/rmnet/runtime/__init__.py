"""How a device runs the network.

`make_executor` chooses an `Executor` that goes object by object on crops (CPUs, and `regional` on
any device) or takes objects as a batch (GPUs). Both run a `FusedNetwork`, made once and shared.
"""

from rmnet.runtime.executor import Executor, MemoryView
from rmnet.runtime.fused_network import FusedDecoder, FusedNetwork
from rmnet.runtime.objectwise import ObjectwiseExecutor, make_executor

__all__ = [
    "Executor",
    "FusedDecoder",
    "FusedNetwork",
    "MemoryView",
    "ObjectwiseExecutor",
    "make_executor",
]
