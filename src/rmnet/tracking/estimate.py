"""What is known of one frame: what the network said, and the masks given on top of it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from rmnet.geometry import resize, soft_aggregate
from rmnet.io import ObjectMasks


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """What was given on a frame; G objects, bool, on the CPU, those given last on top.

    Attributes:
        object_ids: G user's ids, from the bottom up.
        masks: (G, H, W) at the video's size; an object may lie under those above it.
        void: (G, H, W), pixels at which nothing was said of the object.
    """

    object_ids: tuple[int, ...]
    masks: Tensor
    void: Tensor

    @classmethod
    def nothing(cls, size: tuple[int, int]) -> Given:
        """No masks, of (H, W) px."""
        none = torch.zeros((0, *size), dtype=torch.bool, device="cpu")
        return cls((), none, none)

    def cover(self, new: ObjectMasks) -> Given:
        """These masks with newer ones on top, which replace those of the same objects."""
        rows = {i: row for row, i in enumerate(self.object_ids)}
        under = self.without(new.object_ids)
        masks, void = [], []
        for i, mask in zip(new.object_ids, new.masks, strict=True):
            old = rows.get(i)  # where the new mask says nothing, the old one stands
            masks.append(mask if old is None else mask | (self.masks[old] & new.void))
            void.append(new.void if old is None else self.void[old] & new.void)
        return Given(
            under.object_ids + new.object_ids,
            torch.cat((under.masks, torch.stack(masks))),
            torch.cat((under.void, torch.stack(void))),
        )

    def without(self, ids: Collection[int]) -> Given:
        """The masks of the other objects."""
        rows = [row for row, i in enumerate(self.object_ids) if i not in ids]
        left = tuple(self.object_ids[row] for row in rows)
        return Given(left, self.masks[rows], self.void[rows])

    def visible(self) -> tuple[Tensor, Tensor]:
        """Masks and void (G, H, W) without what lies under a higher mask."""
        # How many masks lie above each: counted from the top, its own left out.
        above = self.masks.flip(0).cumsum(dim=0).flip(0) - self.masks.int()
        return self.masks & (above == 0), self.void & (above == 0)


@dataclass(frozen=True, eq=False)  # no slots: one property is kept once computed
class Estimate:
    """Objects of one frame, as a value.

    The prediction is kept as it was decoded, an object at a time, and given masks are kept apart
    from it: so an object that is removed or corrected leaves no trace in the others, and given
    masks come out at the video's size exactly as they went in, however small the network's.

    Attributes:
        object_ids: N user's ids.
        predicted: (N, H, W) float32 at the network's size, each object against background; 0 for
            objects that were given on this frame and not predicted.
        given: Masks given on this frame, if any.
    """

    object_ids: tuple[int, ...]
    predicted: Tensor
    given: Given | None = None

    @classmethod
    def empty(cls, size: tuple[int, int], device: torch.device) -> Estimate:
        """No objects; `size` is (H, W) px of the network."""
        return cls((), torch.zeros((0, *size), dtype=torch.float32, device=device))

    def give(self, masks: ObjectMasks) -> Estimate:
        """Add objects, or correct those that are there already."""
        new = [i for i in masks.object_ids if i not in self.object_ids]
        absent = self.predicted.new_zeros((len(new), *self.predicted.shape[1:]))
        return Estimate(
            object_ids=self.object_ids + tuple(new),
            predicted=torch.cat((self.predicted, absent)),
            given=(self.given or Given.nothing(masks.size)).cover(masks),
        )

    def remove(self, ids: Collection[int]) -> Estimate:
        """Forget objects, as if they had never been there."""
        rows = [row for row, i in enumerate(self.object_ids) if i not in ids]
        given = None if self.given is None else self.given.without(ids)
        return Estimate(
            object_ids=tuple(self.object_ids[row] for row in rows),
            predicted=self.predicted[rows],
            given=given if given is not None and given.object_ids else None,
        )

    @cached_property
    def at_network_size(self) -> Tensor:
        """`probabilities()`, which the result of a frame and the step after it both want."""
        return self.probabilities()

    def probabilities(self, size: tuple[int, int] | None = None) -> Tensor:
        """All objects together, given masks applied.

        Args:
            size: (H, W) px; None for the network's.

        Returns:
            (N+1, H, W) float32, background first, summing to 1.
        """
        size = size or (self.predicted.shape[1], self.predicted.shape[2])
        if self.given is None:
            return resize(_aggregated(self.predicted)[None], size)[0]
        device = self.predicted.device
        rows = [self.object_ids.index(i) for i in self.given.object_ids]
        masks, void = (resize(x.to(device).float()[None], size)[0] for x in self.given.visible())
        # Where a mask says something of an object, its prediction counts for nothing: the others
        # share what the masks leave as if that object were not there.
        predicted = resize(self.predicted[None], size)[0].clone()
        predicted[rows] *= void
        probabilities = _aggregated(predicted) * (1 - masks.sum(dim=0)).clamp(min=0)
        given_rows = [row + 1 for row in rows]
        probabilities[given_rows] = probabilities[given_rows] * (void > 0) + masks
        return probabilities / probabilities.sum(dim=0)


def _aggregated(predicted: Tensor) -> Tensor:
    """Probabilities (N+1, H, W) of objects (N, H, W) that were decoded apart."""
    return soft_aggregate(predicted[None])[0].softmax(dim=0)
