"""One result of a frame from the results of two passes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from rmnet.results import FrameSegmentation
from rmnet.tracking.plan import Answers
from rmnet.tracking.segmentation import label_pixels


def merge(
    forward: FrameSegmentation | None, backward: FrameSegmentation | None, answers: Answers
) -> FrameSegmentation:
    """Take each object of a frame from the pass that answers it.

    If objects come from both passes, the objects compete again for each pixel with the
    probabilities they have in their passes, and the background with the probability that none of
    them is there. Scores and boxes are those of the pixels an object then has; status and region
    are those of its pass.

    Args:
        forward: Result of the forward pass; needed if that answers an object. Both carry
            probabilities if both do.
        backward: The same of the backward pass.
        answers: Which pass answers which object; at least one does.

    Returns:
        A result with probabilities if its parts carry them.
    """
    if forward is not None and not answers.backward:
        return forward
    if backward is not None and not answers.forward:
        return backward
    parts = [
        (part, row)
        for part, ids in ((forward, answers.forward), (backward, answers.backward))
        if part is not None
        for row, i in enumerate(part.object_ids)
        if i in ids
    ]
    objects = torch.stack([p.probabilities[r + 1] for p, r in parts if p.probabilities is not None])
    probabilities = torch.cat(((1 - objects).prod(dim=0)[None], objects))
    probabilities /= probabilities.sum(dim=0)
    object_ids = tuple(part.object_ids[row] for part, row in parts)
    labels, scores, boxes = label_pixels(probabilities, object_ids)
    return replace(
        parts[0][0],
        labels=labels,
        object_ids=object_ids,
        scores=scores,
        status=tuple(part.status[row] for part, row in parts),
        boxes=boxes,
        regions=np.stack([part.regions[row] for part, row in parts]),
        probabilities=probabilities,
    )
