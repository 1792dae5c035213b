"""The regional read as a native operator: `torch.ops.rmnet.regional_read`, and what it serves."""

from __future__ import annotations

import torch
from torch import Tensor

from rmnet.config import ReadSemantics
from rmnet.ops.extension import architectures, problem

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
# What the CUDA kernels are compiled for: csrc/cuda/regional_read_cuda.cu.
CUDA_WIDTHS = ((128, 512), (64, 192))


def obstacle(
    device: torch.device, dtype: torch.dtype, key_width: int, value_width: int
) -> str | None:
    """Why the operator does not serve such a read; None if it does."""
    if device.type not in ("cpu", "cuda"):
        return f"there is no native op for {device.type}"
    not_loaded = problem(device.type)
    if not_loaded is not None:
        return not_loaded
    if dtype not in DTYPES:
        return f"keys and values of {dtype}; served: {', '.join(map(str, DTYPES))}"
    if device.type == "cpu":
        return None
    if (key_width, value_width) not in CUDA_WIDTHS:
        served = ", ".join(f"{ck}/{cv}" for ck, cv in CUDA_WIDTHS)
        return f"widths of key/value {key_width}/{value_width}; served by CUDA: {served}"
    capability = torch.cuda.get_device_capability(device)
    built_for = architectures()
    if not any(_runs(name, capability) for name in built_for):
        return f"compute capability {capability}; the binary is for {', '.join(built_for)}"
    return None


def _runs(architecture: str, capability: tuple[int, int]) -> bool:
    """Whether code for an architecture, such as "9.0" or "9.0+PTX", runs on a device."""
    number, _, intermediate = architecture.partition("+")
    major, minor = (int("".join(filter(str.isdigit, part))) for part in number.split("."))
    if intermediate:  # the driver compiles it for every later device
        return capability >= (major, minor)
    return capability[0] == major and capability[1] >= minor


def regional_read_native(
    query_key: Tensor,
    memory_key: Tensor,
    memory_value: Tensor,
    query_boxes: Tensor,
    memory_boxes: Tensor,
    *,
    present: Tensor | None,
    semantics: ReadSemantics,
    scale: float,
    instruction_set: str = "best",
) -> Tensor:
    """See `rmnet.ops.regional_read`. Does not wait for a device; has no gradient.

    Args:
        query_key: As there.
        memory_key: As there.
        memory_value: As there.
        query_boxes: As there.
        memory_boxes: As there.
        present: As there.
        semantics: As there.
        scale: As there.
        instruction_set: On the CPU: "best", "avx512", "avx2" or "portable".
    """
    return torch.ops.rmnet.regional_read(
        query_key,
        memory_key,
        memory_value,
        query_boxes,
        memory_boxes,
        present,
        semantics == "zeroed",
        scale,
        instruction_set,
    )


def _shape_only(
    query_key: Tensor,
    memory_key: Tensor,
    memory_value: Tensor,
    *_: object,
) -> Tensor:
    n, h, w, _ck = query_key.shape
    return memory_value.new_empty((n, h, w, memory_value.shape[-1]))


if problem("cpu") is None:  # the schema is there
    torch.library.register_fake("rmnet::regional_read", _shape_only)
