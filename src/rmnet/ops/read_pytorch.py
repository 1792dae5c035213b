"""The regional read in plain PyTorch: only cells inside the boxes are touched."""

from __future__ import annotations

import torch
from torch import Tensor

from rmnet.config import ReadSemantics
from rmnet.geometry import cells_in_boxes

# Queries are read in slices of so many scores: a whole frame against a long memory would need
# (h w) x (T h w) floats, and a slice stays in the processor's cache.
SCORES_AT_A_TIME = 1 << 21


def regional_read_pytorch(
    query_key: Tensor,
    memory_key: Tensor,
    memory_value: Tensor,
    query_boxes: Tensor,
    memory_boxes: Tensor,
    *,
    present: Tensor | None,
    semantics: ReadSemantics,
    scale: float,
) -> Tensor:
    """See `regional_read`. Waits for the device, since the boxes decide the shapes."""
    n, frames, h, w, _ = memory_key.shape
    if n == 0:
        return memory_value.new_zeros((0, h, w, memory_value.shape[4]))
    inside = cells_in_boxes(memory_boxes, h, w)
    if present is None:
        present = torch.ones((n, frames), dtype=torch.bool, device=inside.device)
    inside = inside & present[:, :, None, None]
    memory_cells = (present.sum(dim=1) * (h * w)).tolist()
    readouts = []
    # A caller's reduced precision must not reach the scores.
    with torch.autocast(memory_key.device.type, enabled=False):
        for j, (x0, y0, x1, y1) in enumerate(query_boxes.tolist()):
            cells = inside[j].flatten().nonzero().squeeze(1)
            keys = memory_key[j].flatten(0, 2).index_select(0, cells).float()
            values = memory_value[j].flatten(0, 2).index_select(0, cells).float()
            queries = query_key[j, y0:y1, x0:x1].flatten(0, 1).float() * scale
            zeroed_cells = memory_cells[j] - len(cells) if semantics == "zeroed" else 0
            readout = values.new_zeros((h, w, values.shape[1]))
            if semantics == "zeroed" and memory_cells[j]:
                readout = readout + values.sum(dim=0) / memory_cells[j]
            if len(cells) and len(queries):
                read = _attend(queries, keys, values, zeroed_cells)
                readout[y0:y1, x0:x1] = read.unflatten(0, (y1 - y0, x1 - x0))
            readouts.append(readout)
    return torch.stack(readouts).to(memory_value.dtype)


def _attend(queries: Tensor, keys: Tensor, values: Tensor, zeroed_cells: int) -> Tensor:
    """Compute softmax attention with `zeroed_cells` more keys, all of score 0 and value 0."""
    found = []
    for some in queries.split(max(1, SCORES_AT_A_TIME // len(keys))):
        scores = some @ keys.T
        if not zeroed_cells:
            found.append(torch.softmax(scores, dim=1) @ values)
            continue
        shift = scores.amax(dim=1, keepdim=True).clamp(min=0)
        weights = (scores - shift).exp()
        total = weights.sum(dim=1, keepdim=True) + zeroed_cells * (-shift).exp()
        found.append((weights @ values) / total)
    return torch.cat(found)
