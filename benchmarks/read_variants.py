"""Common other ways to write the regional read. All are exact ("excluded").

See `rmnet.ops.regional_read` for the arguments. The variants that crop copy the boxes to the host,
which has to wait for a GPU.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from rmnet.geometry import cells_in_boxes


def dense(qk: Tensor, mk: Tensor, mv: Tensor, qb: Tensor, mb: Tensor) -> Tensor:
    """Match all cells with all cells, and mask those outside: the released computation."""
    n, _, h, w, ck = mk.shape
    inside = cells_in_boxes(mb, h, w).flatten(1)
    scores = qk.flatten(1, 2) @ mk.flatten(1, 3).transpose(1, 2) * ck**-0.5
    scores = scores.masked_fill(~inside[:, None], -torch.inf)
    read = (scores.softmax(dim=2) @ mv.flatten(1, 3)).view(n, h, w, -1)
    return read * cells_in_boxes(qb, h, w)[..., None]


def crop(qk: Tensor, mk: Tensor, mv: Tensor, qb: Tensor, mb: Tensor) -> Tensor:
    """Cut the regions out, then multiply, softmax and multiply, object by object."""

    def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        scores = (queries * keys.shape[1] ** -0.5) @ keys.T
        return scores.softmax(dim=1) @ values

    return _cropped(attend, qk, mk, mv, qb, mb)


def crop_sdpa(qk: Tensor, mk: Tensor, mv: Tensor, qb: Tensor, mb: Tensor) -> Tensor:
    """Cut the regions out, then call scaled_dot_product_attention with values of full width."""

    def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        return scaled_dot_product_attention(queries[None, None], keys[None, None],
                                            values[None, None])[0, 0]  # fmt: skip

    return _cropped(attend, qk, mk, mv, qb, mb)


def crop_sdpa_heads(qk: Tensor, mk: Tensor, mv: Tensor, qb: Tensor, mb: Tensor) -> Tensor:
    """Do the same with values cut into heads as wide as the keys, which flash kernels need."""
    ck = mk.shape[-1]

    def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        heads = values.unflatten(1, (-1, ck)).transpose(0, 1)[None]
        same = (1, heads.shape[1], -1, -1)
        read = scaled_dot_product_attention(queries.expand(same), keys.expand(same), heads)
        return read[0].transpose(0, 1).flatten(1)

    return _cropped(attend, qk, mk, mv, qb, mb)


def _cropped(
    attend: Callable[[Tensor, Tensor, Tensor], Tensor],
    qk: Tensor,
    mk: Tensor,
    mv: Tensor,
    qb: Tensor,
    mb: Tensor,
) -> Tensor:
    out = mv.new_zeros((*qk.shape[:3], mv.shape[-1]))
    for j, (x0, y0, x1, y1) in enumerate(qb.tolist()):
        boxes = mb[j].tolist()
        keys = torch.cat([mk[j, t, b:d, a:c].flatten(0, 1) for t, (a, b, c, d) in enumerate(boxes)])
        values = torch.cat(
            [mv[j, t, b:d, a:c].flatten(0, 1) for t, (a, b, c, d) in enumerate(boxes)]
        )
        read = attend(qk[j, y0:y1, x0:x1].flatten(0, 1), keys, values)
        out[j, y0:y1, x0:x1] = read.unflatten(0, (y1 - y0, x1 - x0))
    return out
