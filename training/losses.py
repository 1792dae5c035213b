"""What is wrong with a segmentation."""

from __future__ import annotations

import torch
from torch import Tensor

from phases import LossName


def segmentation_loss(
    logits: list[Tensor], masks: Tensor, *, name: LossName, hardest: float
) -> Tensor:
    """The loss a phase names.

    Args:
        logits: Of frames 1.., (B, N+1, H, W) each.
        masks: (B, T, N, H, W) in [0, 1].
        name: "hardest" or "lovasz".
        hardest: Part of each frame's pixels in the cross-entropy; "hardest" only.
    """
    if name == "lovasz":
        truth = masks[:, 1:]
        background = 1 - truth.sum(2, keepdim=True)
        labels = torch.cat([background, truth], 2).argmax(2)
        return published_loss(torch.stack(logits, 1).log_softmax(2), labels)
    return hardest_loss(logits, masks, hardest=hardest)


def hardest_loss(logits: list[Tensor], masks: Tensor, *, hardest: float) -> Tensor:
    """Cross-entropy over the hardest pixels + 0.5 soft Jaccard loss, mean over the frames."""
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
    """Lovász-softmax + NLL, as RMNet was trained. Source: released code.

    Args:
        log_probabilities: (B, T, N+1, H, W).
        labels: (B, T, H, W) int64.
    """
    negative_log_likelihood = -log_probabilities.gather(2, labels.unsqueeze(2)).mean()
    classes = log_probabilities.exp().permute(2, 0, 1, 3, 4).flatten(1)
    return lovasz_softmax(classes, labels.flatten()) + negative_log_likelihood


def lovasz_softmax(probabilities: Tensor, labels: Tensor) -> Tensor:
    """The convex surrogate of 1 - J, mean over the classes that are there.

    Source: Berman et al., CVPR 2018. All pixels of all frames of the batch count as one image.

    Args:
        probabilities: (C, P).
        labels: (P,) int64.
    """
    losses = []
    for index, of_class in enumerate(probabilities):
        truth = (labels == index).float()
        # Waits for the device, once a class; absent ones do not count. Source: released code.
        if not truth.any():
            continue
        errors, order = (truth - of_class).abs().sort(descending=True)
        losses.append(errors @ _jaccard_steps(truth[order]))
    return torch.stack(losses).mean()


def _jaccard_steps(truth: Tensor) -> Tensor:
    """How much 1 - J grows with each further wrong pixel; (P,), truth in order of the errors."""
    total = truth.sum()
    jaccard = 1 - (total - truth.cumsum(0)) / (total + (1 - truth).cumsum(0))
    return torch.cat([jaccard[:1], jaccard.diff()])


@torch.no_grad()
def last_jaccard(logits: list[Tensor], masks: Tensor) -> Tensor:
    """Mean J of the last frame's masks; what is seen of nothing, found as nothing, counts 1."""
    last = logits[-1]
    ids = torch.arange(1, last.shape[1], device=last.device).view(-1, 1, 1)
    found = last.argmax(1, keepdim=True) == ids
    wanted = masks[:, -1] > 0.5
    both, either = (found & wanted).sum((2, 3)), (found | wanted).sum((2, 3))
    return ((both + 1e-3) / (either + 1e-3)).mean()
