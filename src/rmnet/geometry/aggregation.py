"""Merging objects that were decoded separately."""

from __future__ import annotations

import torch
from torch import Tensor

# Probabilities are clamped this far from 0 and 1 before the logit. Source: released code.
EPSILON = 1e-7


def soft_aggregate(object_probabilities: Tensor) -> Tensor:
    """Let objects (B, N, H, W) compete: (B, N+1, H, W) float32 logits, channel 0 background.

    The background is where no object is; then the odds of all channels compete. Source: STM, eq. 3.
    """
    objects = object_probabilities.float()
    background = (1 - objects).prod(dim=1, keepdim=True)
    joined = torch.cat((background, objects), dim=1)
    return joined.clamp(EPSILON, 1 - EPSILON).logit()
