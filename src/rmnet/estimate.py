"""What is known of one frame: what the network said, and the masks given on top of it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rmnet.image import resize
from rmnet.masks import ObjectMasks

# Below this much probability left over, a pixel that was taken from an object is background.
MIN_REMAINDER = 1e-6


@dataclass(frozen=True, slots=True)
class Estimate:
    """Probabilities of one frame at any size, as a value.

    Given masks are kept apart from the prediction, so that at the video's own size they come out
    exactly as they went in, however small the network's size.

    Attributes:
        object_ids: N user's ids, in the order of the channels.
        predicted: (N+1, H, W) float32 at the network's size, background first, summing to 1; of
            objects that the network did not predict on this frame, 0.
        given: Masks given on this frame, in order.
    """

    object_ids: tuple[int, ...]
    predicted: Tensor
    given: tuple[ObjectMasks, ...] = ()

    @classmethod
    def empty(cls, size: tuple[int, int], device: torch.device) -> Estimate:
        """No objects, so all background; `size` is (H, W) px."""
        return cls((), torch.ones((1, *size), device=device))

    def give(self, masks: ObjectMasks) -> Estimate:
        """Add objects, or correct those that are there already."""
        new = [i for i in masks.object_ids if i not in self.object_ids]
        absent = self.predicted.new_zeros((len(new), *self.predicted.shape[1:]))
        return Estimate(
            object_ids=self.object_ids + tuple(new),
            predicted=torch.cat((self.predicted, absent)),
            given=(*self.given, masks),
        )

    def remove(self, ids: Collection[int]) -> Estimate:
        """Forget objects; what was theirs goes to those that were second best."""
        stay = [row for row, i in enumerate(self.object_ids, start=1) if i not in ids]
        left = self.predicted[[0, *stay]]
        return Estimate(
            object_ids=tuple(self.object_ids[row - 1] for row in stay),
            predicted=_share(left, torch.ones_like(left[0])),
            given=tuple(kept for masks in self.given if (kept := _without(masks, ids)).object_ids),
        )

    def probabilities(self, size: tuple[int, int] | None = None) -> Tensor:
        """Probabilities with every given mask applied.

        Args:
            size: (H, W) px; None for the network's.

        Returns:
            (N+1, H, W) float32, background first, summing to 1.
        """
        size = size or (self.predicted.shape[1], self.predicted.shape[2])
        probabilities = resize(self.predicted[None], size)[0]
        for masks in self.given:
            rows = [self.object_ids.index(i) + 1 for i in masks.object_ids]
            probabilities = _apply(probabilities, rows, masks)
        return probabilities


def _apply(probabilities: Tensor, rows: list[int], masks: ObjectMasks) -> Tensor:
    """Set the channels `rows` to the given masks, but for void pixels; the others share the rest."""
    size = (probabilities.shape[1], probabilities.shape[2])
    planes = torch.cat((masks.masks, masks.void[None])).to(probabilities.device).float()
    *given, void = resize(planes[None], size)[0]
    updated = torch.stack(given) + void * probabilities[rows]
    others = [row for row in range(len(probabilities)) if row not in rows]
    result = torch.empty_like(probabilities)
    result[rows] = updated
    result[others] = _share(probabilities[others], (1 - updated.sum(dim=0)).clamp(min=0))
    return result


def _share(channels: Tensor, total: Tensor) -> Tensor:
    """Scale channels (C, H, W) to the sum `total` (H, W); the first takes what nobody had."""
    left = channels.sum(dim=0)
    nobody = left < MIN_REMAINDER
    scaled = channels * (total / left.clamp(min=MIN_REMAINDER))
    background = torch.zeros_like(channels)
    background[0] = total
    return torch.where(nobody, background, scaled)


def _without(masks: ObjectMasks, ids: Collection[int]) -> ObjectMasks:
    rows = [row for row, i in enumerate(masks.object_ids) if i not in ids]
    return replace(
        masks,
        object_ids=tuple(masks.object_ids[row] for row in rows),
        masks=masks.masks[rows],
    )
