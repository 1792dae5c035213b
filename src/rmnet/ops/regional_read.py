"""The regional memory reader: its contract, and who computes it."""

from __future__ import annotations

from torch import Tensor

from rmnet.config import ReadSemantics
from rmnet.ops.pytorch import regional_read_pytorch


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

    Args:
        query_key: (n, h, w, ck); `expand` one frame's key over n objects, nothing is copied.
        memory_key: (n, T, h, w, ck).
        memory_value: (n, T, h, w, cv), of the same dtype: float32, float16 or bfloat16.
        query_boxes: (n, 4) int32 cells, xyxy half-open, inside the grid.
        memory_boxes: (n, T, 4) int32 cells.
        present: (n, T) bool; a frame in which the object did not exist yet is in no count. None
            means that all exist.
        semantics: What a memory cell outside its region does.
        scale: Factor on key products.

    Returns:
        (n, h, w, cv), of the values' dtype; accumulated in float32. Differentiable.

    Raises:
        ValueError: shapes do not agree.
    """
    n, frames, h, w, ck = memory_key.shape
    cv = memory_value.shape[-1]
    shapes = {
        "query_key": (query_key, (n, h, w, ck)),
        "memory_value": (memory_value, (n, frames, h, w, cv)),
        "query_boxes": (query_boxes, (n, 4)),
        "memory_boxes": (memory_boxes, (n, frames, 4)),
        "present": (present, (n, frames)),
    }
    for name, (tensor, shape) in shapes.items():
        if tensor is not None and tensor.shape != shape:
            raise ValueError(
                f"{name} is {tuple(tensor.shape)}; accepted beside a memory_key of "
                f"{tuple(memory_key.shape)}: {shape}"
            )
    return regional_read_pytorch(
        query_key,
        memory_key,
        memory_value,
        query_boxes,
        memory_boxes,
        present=present,
        semantics=semantics,
        scale=scale,
    )
