"""The regional memory reader: its contract, and who computes it."""

from __future__ import annotations

import torch
from torch import Tensor

from rmnet.config import ReadSemantics
from rmnet.errors import ConfigError
from rmnet.ops.backend import BACKEND
from rmnet.ops.extension import instruction_set
from rmnet.ops.regional_read_native import obstacle, regional_read_native
from rmnet.ops.regional_read_pytorch import regional_read_pytorch


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
    elsewhere, and wherever a gradient is wanted. The environment variable RMNET_BACKEND, "native"
    or "pytorch", forces either.

    Args:
        query_key: (n, h, w, ck); `expand` one frame's key over n objects, nothing is copied.
        memory_key: (n, T, h, w, ck).
        memory_value: (n, T, h, w, cv). All three of one dtype: float32, float16, bfloat16, or
            float64, which is computed in float32.
        query_boxes: (n, 4) integer cells, xyxy half-open, inside the grid. On a CUDA device the
            native operator clips them instead of looking, which would have to wait.
        memory_boxes: (n, T, 4) integer cells, likewise.
        present: (n, T) bool; a frame in which the object did not exist yet is in no count. None
            means that all exist.
        semantics: What a memory cell outside its region does.
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
    wants_gradient = torch.is_grad_enabled() and (
        query_key.requires_grad or memory_key.requires_grad or memory_value.requires_grad
    )
    read = regional_read_pytorch
    served = (memory_key.device, memory_key.dtype, memory_key.shape[4], memory_value.shape[4])
    if not wants_gradient and regional_read_obstacle(*served) is None:
        read = regional_read_native
    return read(
        query_key,
        memory_key,
        memory_value,
        query_boxes.to(torch.int32),
        memory_boxes.to(torch.int32),
        present=present,
        semantics=semantics,
        scale=scale,
    )


def regional_read_obstacle(
    device: torch.device, dtype: torch.dtype, key_width: int, value_width: int
) -> str | None:
    """Why PyTorch serves such reads, even without gradients; None if the native operator does.

    Raises:
        ConfigError: RMNET_BACKEND is "native" and the operator does not serve this.
    """
    if BACKEND == "pytorch":
        return "RMNET_BACKEND is 'pytorch'"
    in_the_way = obstacle(device, dtype, key_width, value_width)
    if BACKEND == "native" and in_the_way is not None:
        raise ConfigError(
            f"RMNET_BACKEND is 'native', but {in_the_way}; unset it, or see what `rmnet info` says"
        )
    plain = device.type == "cpu" and instruction_set() == "portable"
    if BACKEND == "auto" and in_the_way is None and plain:
        return "faster on a processor without AVX2"
    return in_the_way


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
    number = memory_key.dtype
    expected = {
        "query_key": (query_key, (n, h, w, ck), (number,)),
        "memory_value": (memory_value, (n, frames, h, w, cv), (number,)),
        "query_boxes": (query_boxes, (n, 4), (torch.int32, torch.int64)),
        "memory_boxes": (memory_boxes, (n, frames, 4), (torch.int32, torch.int64)),
        "present": (present, (n, frames), (torch.bool,)),
    }
    for name, (tensor, shape, dtypes) in expected.items():
        if tensor is None:
            continue
        if tensor.shape != shape:
            raise ValueError(
                f"{name} is {tuple(tensor.shape)}; accepted beside a memory_key of "
                f"{tuple(memory_key.shape)}: {shape}"
            )
        if tensor.dtype not in dtypes:
            accepted = " or ".join(map(str, dtypes)) + ", like memory_key" * (dtypes == (number,))
            raise ValueError(f"{name} is {tensor.dtype}; accepted: {accepted}")
        if tensor.device != memory_key.device:
            raise ValueError(
                f"{name} is on {tensor.device}, memory_key on {memory_key.device}; "
                f"move it with .to({str(memory_key.device)!r})"
            )


def _check_boxes(name: str, boxes: Tensor, h: int, w: int) -> None:
    """Raise for a box that is not inside a grid of h x w cells."""
    x0, y0, x1, y1 = boxes.detach().numpy().reshape(-1, 4).T
    wrong = (x0 < 0) | (x0 > x1) | (x1 > w) | (y0 < 0) | (y0 > y1) | (y1 > h)
    if wrong.any():
        came = tuple(boxes.reshape(-1, 4)[int(wrong.argmax())].tolist())
        raise ValueError(
            f"{name} has {came}; accepted: (x0, y0, x1, y1) with 0 <= x0 <= x1 <= {w} and "
            f"0 <= y0 <= y1 <= {h}, the grid"
        )
