"""All implementations of the regional read that this machine can run, for tests of each."""

from __future__ import annotations

import functools
import os

import pytest
import torch
from torch.nn.functional import pad

from rmnet.ops import extension
from rmnet.ops.read_pytorch import regional_read_pytorch
from rmnet.ops.regional_read import CUDA_WIDTHS, regional_read_native


def _runs(instruction_set):
    key = torch.zeros((1, 1, 1, 1, 1))
    box = torch.tensor([[0, 0, 1, 1]], dtype=torch.int32)
    try:
        torch.ops.rmnet.regional_read(
            key[:, 0], key, key, box, box[None], None, False, 1.0, instruction_set
        )
    except RuntimeError as error:
        if "this processor does not support" in str(error):
            return False
        raise
    return True


def read_on_cuda(query_key, memory_key, memory_value, query_boxes, memory_boxes, **options):
    """Run the native op on a GPU, padding with zeros to the next widths it is compiled for."""
    ck, cv = memory_key.shape[-1], memory_value.shape[-1]
    widths = (pair for pair in sorted(CUDA_WIDTHS) if ck <= pair[0] and cv <= pair[1])
    wide_key, wide_value = next(widths)
    options["present"] = None if options["present"] is None else options["present"].cuda()
    readout = regional_read_native(
        pad(query_key.cuda(), (0, wide_key - ck)),
        pad(memory_key.cuda(), (0, wide_key - ck)),
        pad(memory_value.cuda(), (0, wide_value - cv)),
        query_boxes.cuda(),
        memory_boxes.cuda(),
        **options,
    ).cpu()
    assert readout[..., cv:].abs().sum() == 0
    return readout[..., :cv]


# The instruction sets of the CPU op that this processor supports.
INSTRUCTION_SETS = (
    []
    if extension.problem("cpu") is not None
    else [name for name in ("avx512", "avx2", "portable") if _runs(name)]
)
NATIVE = {
    name: functools.partial(regional_read_native, instruction_set=name) for name in INSTRUCTION_SETS
}
READERS = {"pytorch": regional_read_pytorch, **NATIVE}

_on_cuda = torch.cuda.is_available() or os.environ.get("RMNET_REQUIRE_CUDA") == "1"
every_reader = pytest.mark.parametrize(
    "read",
    [pytest.param(read, id=name) for name, read in READERS.items()]
    + [pytest.param(read_on_cuda, id="cuda", marks=pytest.mark.cuda)] * _on_cuda,
)
needs_native_op = pytest.mark.skipif(
    not NATIVE, reason=f"the native CPU op is missing: {extension.problem('cpu')}"
)
