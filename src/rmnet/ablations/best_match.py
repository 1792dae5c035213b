"""The read of the paper's "Best-match Region" (table 6), an ablation, in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from rmnet.config import ReadSemantics
from rmnet.geometry import cells_in_boxes

KERNEL_SIGMA = 7.0  # cells. Source: Seong et al., Kernelized Memory Network, ECCV 2020
SCORES_AT_A_TIME = 1 << 21  # a long memory would need (h w) x (T h w) floats at once


def best_match_read(
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
    """Match memory regions with the query regions that the matching itself finds.

    Each memory cell p of R, the object's memory region, has a best match among the query cells,
    b(p) = argmax_q s(p, q), and the nearer that is to a query cell, the more p counts there:

        readout(q) = sum_R g(p, q) e^s v / sum_R g(p, q) e^s,
        g(p, q) = exp(-|q - b(p)|^2 / (2 KERNEL_SIGMA^2)).

    Source: Seong et al. (KMN, ECCV 2020). RMNet's paper says of table 6 that "KMN performs feature
    matching in the regions determined by a 2D Gaussian kernel whose center is the best-matched
    pixel", and no more. We take this to mean that KMN's weights replace the box of the query
    region, and that the memory region stays. With "zeroed", a cell outside R, whose key is 0,
    matches everything alike: its g is 1.

    Arguments and result are those of `regional_read`; best matches are searched inside the query
    box, and the readout outside of it is that of `regional_read`.
    """
    n, frames, h, w, _ = memory_key.shape
    if present is None:
        present = torch.ones((n, frames), dtype=torch.bool, device=memory_key.device)
    regions = cells_in_boxes(memory_boxes, h, w) & present[:, :, None, None]
    memory_cells = (present.sum(dim=1) * (h * w)).tolist()
    readout = memory_value.new_zeros((n, h, w, memory_value.shape[4]), dtype=torch.float32)
    with torch.autocast(memory_key.device.type, enabled=False):
        for j, (x0, y0, x1, y1) in enumerate(query_boxes.tolist()):
            cells = regions[j].flatten().nonzero().squeeze(1)
            keys = memory_key[j].flatten(0, 2).index_select(0, cells).float()
            values = memory_value[j].flatten(0, 2).index_select(0, cells).float()
            sink = memory_cells[j] - len(cells) if semantics == "zeroed" else 0
            if semantics == "zeroed" and memory_cells[j]:
                readout[j] = values.sum(dim=0) / memory_cells[j]
            queries = query_key[j, y0:y1, x0:x1].flatten(0, 1).float() * scale
            if len(cells) and len(queries):
                sides = (y1 - y0, x1 - x0)
                rows, columns = (torch.arange(x, device=queries.device).float() for x in sides)
                places = torch.cartesian_prod(rows, columns)
                found = _attend(queries, places, keys, values, sink)
                readout[j, y0:y1, x0:x1] = found.unflatten(0, sides)
    return readout.to(memory_value.dtype)


def _attend(queries: Tensor, places: Tensor, keys: Tensor, values: Tensor, sink: int) -> Tensor:
    """Compute weighted attention (nq, cv) of queries at places (nq, 2); `sink` keys more are 0."""
    rows = max(1, SCORES_AT_A_TIME // len(queries))
    best = torch.cat([(some @ queries.T).argmax(dim=1) for some in keys.split(rows)])
    centres = places[best]
    rows = max(1, SCORES_AT_A_TIME // len(keys))
    found = []
    for some, where in zip(queries.split(rows), places.split(rows), strict=True):
        apart = (where[:, None] - centres).square().sum(dim=2)
        scores = some @ keys.T - apart / (2 * KERNEL_SIGMA**2)
        shift = scores.amax(dim=1, keepdim=True)
        shift = shift.clamp(min=0) if sink else shift
        weights = (scores - shift).exp()
        total = weights.sum(dim=1, keepdim=True) + sink * (-shift).exp()
        found.append((weights @ values) / total)
    return torch.cat(found)
