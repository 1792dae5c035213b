"""Joining objects that were decoded apart."""

from __future__ import annotations

import torch
from torch import Tensor

# Probabilities are kept this far from 0 and 1 before their logit. Source: released code.
EPSILON = 1e-7


def soft_aggregate(object_probabilities: Tensor) -> Tensor:
    """Let objects compete for pixels.

    Background is where no object is; then every channel's odds compete. Source: STM, eq. 3.

    Args:
        object_probabilities: (B, N, H, W), each against background.

    Returns:
        (B, N+1, H, W) float32 logits, channel 0 background; a softmax makes probabilities.
    """
    objects = object_probabilities.float()
    background = (1 - objects).prod(dim=1, keepdim=True)
    joined = torch.cat((background, objects), dim=1)
    return joined.clamp(EPSILON, 1 - EPSILON).logit()
