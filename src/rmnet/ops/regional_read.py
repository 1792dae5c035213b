"""The regional memory reader: its contract, `torch.ops.rmnet.regional_read`, and where that serves."""

from __future__ import annotations

import torch
from torch import Tensor

from rmnet.config import ReadSemantics
from rmnet.ops.backend import not_served, register_fake, use_pytorch
from rmnet.ops.extension import architectures
from rmnet.ops.read_pytorch import regional_read_pytorch

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
# Widths of key and value that CUDA kernels are compiled for: csrc/cuda/regional_read_cuda.cu.
CUDA_WIDTHS = ((128, 512), (64, 192))


def regional_read(
    query_key: Tensor,
    memory_key: Tensor,
    memory_value: Tensor,
    query_boxes: Tensor,
    memory_boxes: Tensor,
    *,
    present: Tensor | None = None,
    semantics: ReadSemantics,
    scale: float,
) -> Tensor:
    """Match each object's query region against its memory regions.

    With R the object's memory cells inside their boxes, and s = scale * key_M . key_Q:

    - "excluded": softmax over R. Outside the query box, or with R empty, the readout is 0.
      Source: the paper, eq. 6-7.
    - "zeroed": keys and values outside are zero but stay in the softmax, so that with N_out
      memory cells outside, readout = sum_R e^s v / (sum_R e^s + N_out); outside the query box,
      readout = sum_R v / (all memory cells). Source: released code.

    A native operator computes it where it was built and serves the widths; PyTorch does
    elsewhere, and wherever a gradient is wanted.

    Args:
        query_key: (n, h, w, ck); one frame's key may be expanded over n objects.
        memory_key: (n, T, h, w, ck).
        memory_value: (n, T, h, w, cv). All three of one dtype: float32, float16, bfloat16, or
            float64, which is computed in float32.
        query_boxes: (n, 4) integer cells, xyxy half-open, inside the grid. On a CUDA device the
            native operator clips them instead: a check would wait for the device.
        memory_boxes: (n, T, 4) integer cells, likewise.
        present: (n, T) bool; a frame in which the object did not exist yet counts nowhere. None
            means that the objects exist in all frames.
        semantics: Role of the memory cells outside of their region.
        scale: Factor on key products.

    Returns:
        (n, h, w, cv), of the values' dtype; accumulated in float32. Differentiable.

    Raises:
        ValueError: shapes, dtypes or devices do not agree, or a box is outside the grid.
        ConfigError: RMNET_BACKEND is "native" and the operator does not serve this.
    """
    _check_tensors(query_key, memory_key, memory_value, query_boxes, memory_boxes, present)
    h, w = memory_key.shape[2:4]
    if query_boxes.device.type == "cpu" and not torch.compiler.is_compiling():
        _check_boxes("query_boxes", query_boxes, h, w)
        _check_boxes("memory_boxes", memory_boxes, h, w)
    boxes = query_boxes.to(torch.int32), memory_boxes.to(torch.int32)
    tensors = query_key, memory_key, memory_value, *boxes
    wants_gradient = torch.is_grad_enabled() and any(x.requires_grad for x in tensors)
    read = regional_read_pytorch
    wanted = (memory_key.device, memory_key.dtype, memory_key.shape[4], memory_value.shape[4])
    if not wants_gradient and regional_read_obstacle(*wanted) is None:
        read = regional_read_native
    return read(*tensors, present=present, semantics=semantics, scale=scale)


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
    """See `regional_read` and, for `instruction_set`, `conv3x3`; never waits for a device."""
    tensors = query_key, memory_key, memory_value, query_boxes, memory_boxes, present
    return torch.ops.rmnet.regional_read(*tensors, semantics == "zeroed", scale, instruction_set)


def regional_read_obstacle(
    device: torch.device, dtype: torch.dtype, key_width: int, value_width: int
) -> str | None:
    """Return why PyTorch should read, even without gradients; raises like `regional_read`."""
    unserved = native_read_obstacle(device, dtype, key_width, value_width)
    return use_pytorch(device, unserved, required=True)


def native_read_obstacle(
    device: torch.device, dtype: torch.dtype, key_width: int, value_width: int
) -> str | None:
    """Return why the operator does not serve such a read; None if it does."""
    unserved = not_served("read", device, dtype, devices=("cpu", "cuda"), dtypes=DTYPES)
    if unserved is not None or device.type == "cpu":
        return unserved
    if (key_width, value_width) not in CUDA_WIDTHS:
        served = ", ".join(f"{ck}/{cv}" for ck, cv in CUDA_WIDTHS)
        return f"widths of key/value {key_width}/{value_width}; served by CUDA: {served}"
    capability = torch.cuda.get_device_capability(device)
    built_for = architectures()
    if not any(_runs(name, capability) for name in built_for):
        return f"compute capability {capability}; the binary is for {', '.join(built_for)}"
    return None


def _runs(architecture: str, capability: tuple[int, int]) -> bool:
    """Return whether code for an architecture, such as "9.0" or "9.0+PTX", runs on a device."""
    number, _, intermediate = architecture.partition("+")
    major, minor = (int("".join(filter(str.isdigit, part))) for part in number.split("."))
    if intermediate:  # the driver compiles it for every later device
        return capability >= (major, minor)
    return capability[0] == major and capability[1] >= minor


def _check_tensors(
    query_key: Tensor,
    memory_key: Tensor,
    memory_value: Tensor,
    query_boxes: Tensor,
    memory_boxes: Tensor,
    present: Tensor | None,
) -> None:
    if memory_key.ndim != 5 or memory_value.ndim != 5:
        raise ValueError(
            f"memory_key is {tuple(memory_key.shape)} and memory_value "
            f"{tuple(memory_value.shape)}; accepted: (n, T, h, w, ck) and (n, T, h, w, cv)"
        )
    n, frames, h, w, ck = memory_key.shape
    cv = memory_value.shape[4]
    if not memory_key.is_floating_point():
        raise ValueError(f"memory_key is {memory_key.dtype}; accepted: a floating-point dtype")
    numbers, integers = (memory_key.dtype,), (torch.int32, torch.int64)
    expected = {
        "query_key": (query_key, (n, h, w, ck), numbers),
        "memory_value": (memory_value, (n, frames, h, w, cv), numbers),
        "query_boxes": (query_boxes, (n, 4), integers),
        "memory_boxes": (memory_boxes, (n, frames, 4), integers),
    }
    if present is not None:
        expected["present"] = present, (n, frames), (torch.bool,)
    for name, (tensor, shape, dtypes) in expected.items():
        if tensor.shape != shape:
            came, accepted = f"{tuple(tensor.shape)}", f"{shape}"
        elif tensor.dtype not in dtypes:
            came, accepted = f"{tensor.dtype}", " or ".join(map(str, dtypes))
        elif tensor.device != memory_key.device:
            came, accepted = f"on {tensor.device}", f"on {memory_key.device}"
        else:
            continue
        raise ValueError(f"{name} is {came}; accepted, to match memory_key: {accepted}")


def _check_boxes(name: str, boxes: Tensor, h: int, w: int) -> None:
    """Raise a ValueError for a box that is not inside a grid of h x w cells."""
    x0, y0, x1, y1 = boxes.detach().numpy().reshape(-1, 4).T
    wrong = (x0 < 0) | (x0 > x1) | (x1 > w) | (y0 < 0) | (y0 > y1) | (y1 > h)
    if wrong.any():
        came = tuple(boxes.reshape(-1, 4)[int(wrong.argmax())].tolist())
        raise ValueError(
            f"{name} has {came}; accepted: (x0, y0, x1, y1) with 0 <= x0 <= x1 <= {w} and "
            f"0 <= y0 <= y1 <= {h}, the grid"
        )


def _shape_only(query_key: Tensor, _: Tensor, memory_value: Tensor, *__: object) -> Tensor:
    return memory_value.new_empty((*query_key.shape[:3], memory_value.shape[-1]))


register_fake("regional_read", _shape_only)
