"""The regional read over all cells, for training on a GPU."""

from __future__ import annotations

import torch
from torch import Tensor

from rmnet.config import ReadSemantics
from rmnet.geometry import cells_in_boxes


def dense_read(
    query_key: Tensor,
    memory_key: Tensor,
    memory_value: Tensor,
    query_boxes: Tensor,
    memory_boxes: Tensor,
    *,
    semantics: ReadSemantics,
    scale: float,
) -> Tensor:
    """Compute the differentiable `rmnet.ops.regional_read` over all cells, with masks.

    The library's differentiable path touches only the cells inside the boxes, so it has to wait
    for the device to report their sizes. This function never waits; training grids are small.

    Args:
        query_key: (n, h, w, ck).
        memory_key: (n, T, h, w, ck).
        memory_value: (n, T, h, w, cv).
        query_boxes: (n, 4) cells, half-open.
        memory_boxes: (n, T, 4) cells, half-open.
        semantics: "excluded" or "zeroed": the treatment of memory cells outside their box.
        scale: Factor on key products.

    Returns:
        (n, h, w, cv) of the values' dtype.
    """
    h, w = memory_key.shape[2:4]
    searched = cells_in_boxes(query_boxes, h, w).unsqueeze(-1)
    remembered = cells_in_boxes(memory_boxes, h, w).flatten(1)
    with torch.autocast(memory_key.device.type, enabled=False):
        queries = query_key.float().mul(scale).flatten(1, 2)
        keys, values = memory_key.flatten(1, 3).float(), memory_value.flatten(1, 3).float()
        if semantics == "zeroed":
            inside = remembered.unsqueeze(-1)
            queries, keys, values = queries * searched.flatten(1, 2), keys * inside, values * inside
            read = (queries @ keys.transpose(1, 2)).softmax(-1) @ values
            return read.unflatten(1, (h, w)).to(memory_value.dtype)
        scores = queries @ keys.transpose(1, 2)
        # Not -inf, which gives NaN where nothing is remembered.
        scores = scores.masked_fill(~remembered.unsqueeze(1), torch.finfo(scores.dtype).min)
        read = (scores.softmax(-1) @ values).unflatten(1, (h, w))
        found = searched & remembered.any(1).view(-1, 1, 1, 1)
        return (read * found).to(memory_value.dtype)
