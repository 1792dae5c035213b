"""Losses of segmentations."""

from __future__ import annotations

import torch
from torch import Tensor

from training.phases import LossName


def segmentation_loss(
    logits: list[Tensor], masks: Tensor, *, name: LossName, hardest: float
) -> Tensor:
    """Compute the loss that a phase names.

    Args:
        logits: Logits (B, N+1, H, W) of each frame after the first.
        masks: (B, T, N, H, W) in [0, 1].
        name: "hardest" or "lovasz".
        hardest: Part of the pixels of a frame that the cross-entropy counts; for "hardest" only.
    """
    if name == "lovasz":
        truth = masks[:, 1:]
        background = 1 - truth.sum(2, keepdim=True)
        labels = torch.cat([background, truth], 2).argmax(2)
        return published_loss(torch.stack(logits, 1).log_softmax(2), labels)
    return hardest_loss(logits, masks, hardest=hardest)


def hardest_loss(logits: list[Tensor], masks: Tensor, *, hardest: float) -> Tensor:
    """Compute cross-entropy of the hardest pixels + 0.5 soft Jaccard loss, mean over frames."""
    total = logits[0].new_zeros(())
    for of_frame, truth in zip(logits, masks[:, 1:].unbind(1), strict=True):
        background = (1 - truth.sum(1, keepdim=True)).clamp(0, 1)
        log_probabilities = of_frame.log_softmax(1)
        entropy = -(torch.cat([background, truth], 1) * log_probabilities).sum(1).flatten(1)
        if hardest < 1:
            entropy = entropy.topk(int(entropy.shape[1] * hardest), 1, sorted=False).values
        found = log_probabilities[:, 1:].exp().flatten(2)
        wanted = truth.flatten(2)
        both = (found * wanted).sum(2)
        either = (found + wanted).sum(2) - both
        total = total + entropy.mean() + 0.5 * (1 - (both + 1) / (either + 1)).mean()
    return total / len(logits)


def published_loss(log_probabilities: Tensor, labels: Tensor) -> Tensor:
    """Compute Lovász-softmax + NLL, the loss that RMNet was trained with. Source: released code.

    Args:
        log_probabilities: (B, T, N+1, H, W).
        labels: (B, T, H, W) int64.
    """
    negative_log_likelihood = -log_probabilities.gather(2, labels.unsqueeze(2)).mean()
    classes = log_probabilities.exp().permute(2, 0, 1, 3, 4).flatten(1)
    return lovasz_softmax(classes, labels.flatten()) + negative_log_likelihood


def lovasz_softmax(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Compute the convex surrogate of 1 - J, mean over the classes present.

    Source: Berman et al., CVPR 2018. All pixels of all frames of the batch count as one image.

    Args:
        probabilities: (C, P).
        labels: (P,) int64.
    """
    losses = []
    for index, of_class in enumerate(probabilities):
        truth = (labels == index).float()
        # Waits for the device once per class. Absent classes do not count. Source: released code.
        if not truth.any():
            continue
        errors, order = (truth - of_class).abs().sort(descending=True)
        losses.append(errors @ _jaccard_steps(truth[order]))
    return torch.stack(losses).mean()


def _jaccard_steps(truth: Tensor) -> Tensor:
    """Return by how much 1 - J grows with each further wrong pixel, (P,), in order of errors."""
    total = truth.sum()
    jaccard = 1 - (total - truth.cumsum(0)) / (total + (1 - truth).cumsum(0))
    return torch.cat([jaccard[:1], jaccard.diff()])


@torch.no_grad()
def last_jaccard(logits: list[Tensor], masks: Tensor) -> Tensor:
    """Compute the mean J of the last frame; an absent object that was not found counts 1."""
    last = logits[-1]
    ids = torch.arange(1, last.shape[1], device=last.device).view(-1, 1, 1)
    found = last.argmax(1, keepdim=True) == ids
    wanted = masks[:, -1] > 0.5
    both, either = (found & wanted).sum((2, 3)), (found | wanted).sum((2, 3))
    return ((both + 1e-3) / (either + 1e-3)).mean()
