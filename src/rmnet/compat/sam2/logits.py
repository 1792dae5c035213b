"""From probabilities to what SAM 2 returns: a logit for each object and pixel, positive inside."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from rmnet.results import FrameSegmentation

LIMIT = 16.0  # bound of a logit; that of a probability 1e-7 away from 0 or 1
ABSENT = -1024.0  # of an object about which nothing is known in a frame. Source: SAM 2
_TIE = 1e-6  # least logit of a pixel that is the object's


def competing_logits(result: FrameSegmentation, device: torch.device) -> Tensor:
    """Return the log-odds of each object against its strongest rival, (N, H, W) float32.

    The rival is the background or another object. With one object that is the ordinary logit. A
    logit is positive exactly where the label map shows the object.
    """
    if result.probabilities is None:
        raise ValueError("the session was started without keep_probabilities")
    log = result.probabilities.to(device).clamp(min=torch.finfo(torch.float32).tiny).log()
    labels = torch.from_numpy(result.labels).to(device)
    ids = torch.tensor(result.object_ids, device=device).view(-1, 1, 1)
    is_own = labels == ids
    first, second = log.topk(2, dim=0).values
    logits = (log[1:] - torch.where(is_own, second, first)).clamp(-LIMIT, LIMIT)
    return torch.where(is_own, logits.clamp(min=_TIE), logits.clamp(max=0))


def mask_logits(mask: Tensor) -> Tensor:
    """Return the logits of a mask that is certain."""
    return torch.where(mask, LIMIT, -LIMIT)


def without_overlap(rows: Sequence[Tensor]) -> Tensor:
    """Stack logits (H, W) of objects; where several are positive, the largest alone stays so."""
    logits = torch.stack(tuple(rows))
    is_best = torch.zeros_like(logits, dtype=torch.bool).scatter_(
        0, logits.argmax(dim=0, keepdim=True), value=True
    )
    return torch.where(is_best, logits, logits.clamp(max=0))


def pack(logits: Tensor) -> bytes:
    """Compress logits (H, W), rounded to whole numbers away from 0."""
    rounded = torch.where(logits > 0, logits.ceil(), logits.floor()).clamp(-LIMIT, LIMIT)
    return zlib.compress(rounded.to(torch.int8).cpu().numpy().tobytes(), level=1)


def unpack(packed: bytes, size: tuple[int, int], device: torch.device) -> Tensor:
    """Return the logits (H, W) float32 that `pack` compressed."""
    rounded = np.frombuffer(zlib.decompress(packed), np.int8).reshape(size)
    return torch.from_numpy(rounded.astype(np.float32)).to(device)
