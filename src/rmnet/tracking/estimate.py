"""What is known of one frame: the network's prediction and the masks given on top of it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rmnet.geometry import resize, soft_aggregate
from rmnet.io import ObjectMasks


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """The masks given on a frame: G objects from the bottom up, on the CPU at the video's size."""

    object_ids: tuple[int, ...]
    masks: Tensor  # (G, H, W) bool; may overlap
    void: Tensor  # (G, H, W) bool; pixels at which nothing is known of the object

    @classmethod
    def nothing(cls, size: tuple[int, int]) -> Given:
        """Return no masks, for a video of (H, W) pixels."""
        none = torch.zeros((0, *size), dtype=torch.bool, device="cpu")
        return cls((), none, none)

    def cover(self, new: ObjectMasks) -> Given:
        """Put newer masks on top; they replace those of the same objects."""
        rows = {i: row for row, i in enumerate(self.object_ids)}
        under = self.without(new.object_ids)
        masks, void = [], []
        for i, mask in zip(new.object_ids, new.masks, strict=True):
            old = rows.get(i)  # kept where the new mask is void
            masks.append(mask if old is None else mask | (self.masks[old] & new.void))
            void.append(new.void if old is None else self.void[old] & new.void)
        return Given(
            under.object_ids + new.object_ids,
            torch.cat((under.masks, torch.stack(masks))),
            torch.cat((under.void, torch.stack(void))),
        )

    def without(self, ids: Collection[int]) -> Given:
        """Return the masks of the other objects."""
        rows = [row for row, i in enumerate(self.object_ids) if i not in ids]
        left = tuple(self.object_ids[row] for row in rows)
        return Given(left, self.masks[rows], self.void[rows])

    def visible(self) -> tuple[Tensor, Tensor]:
        """Return masks and void (G, H, W) without the pixels that lie under a higher mask."""
        # Number of masks above each pixel: counted from the top, without its own.
        above = self.masks.flip(0).cumsum(dim=0).flip(0) - self.masks.int()
        return self.masks & (above == 0), self.void & (above == 0)


@dataclass(frozen=True, eq=False)  # no slots: one property is kept once computed
class Estimate:
    """The objects of one frame, as a value.

    Predictions are kept as decoded, object by object, and apart from given masks. So an object
    that is removed or corrected leaves no trace in the others, and a given mask comes back at the
    video's size exactly as it was given, however small the network's size is.

    Attributes:
        object_ids: The user's ids of the N objects.
        predicted: (N, h, w) float32 at the network's size, each object against background; 0 for
            an object that was given on this frame and not predicted.
        given: Masks given on this frame; None without any.
    """

    object_ids: tuple[int, ...]
    predicted: Tensor
    given: Given | None = None

    @classmethod
    def empty(cls, size: tuple[int, int], device: torch.device) -> Estimate:
        """Return no objects, for a frame of (h, w) pixels inside the network."""
        return cls((), torch.zeros((0, *size), dtype=torch.float32, device=device))

    def give(self, masks: ObjectMasks) -> Estimate:
        """Add objects, or correct those that exist already."""
        new = [i for i in masks.object_ids if i not in self.object_ids]
        absent = self.predicted.new_zeros((len(new), *self.predicted.shape[1:]))
        return Estimate(
            object_ids=self.object_ids + tuple(new),
            predicted=torch.cat((self.predicted, absent)),
            given=(self.given or Given.nothing(masks.size)).cover(masks),
        )

    def remove(self, ids: Collection[int]) -> Estimate:
        """Forget objects, as if they had never existed."""
        rows = [row for row, i in enumerate(self.object_ids) if i not in ids]
        given = None if self.given is None else self.given.without(ids)
        return Estimate(
            object_ids=tuple(self.object_ids[row] for row in rows),
            predicted=self.predicted[rows],
            given=given if given is not None and given.object_ids else None,
        )

    @cached_property
    def at_network_size(self) -> Tensor:
        """`probabilities()`, kept because both the result and the next step need it."""
        return self.probabilities()

    def probabilities(self, size: tuple[int, int] | None = None) -> Tensor:
        """Join objects and given masks: (N+1, H, W) float32, background first, summing to 1.

        `size` is (H, W) in pixels; None for the network's size.
        """
        size = size or (self.predicted.shape[1], self.predicted.shape[2])
        if self.given is None:
            return resize(_aggregated(self.predicted)[None], size)[0]
        device = self.predicted.device
        rows = [self.object_ids.index(i) for i in self.given.object_ids]
        masks, void = (resize(x.to(device).float()[None], size)[0] for x in self.given.visible())
        # A given mask overrides the prediction of its object everywhere but in void; the other
        # objects share the rest as if that object did not exist.
        predicted = resize(self.predicted[None], size)[0].clone()
        predicted[rows] *= void
        probabilities = _aggregated(predicted) * (1 - masks.sum(dim=0)).clamp(min=0)
        given_rows = [row + 1 for row in rows]
        probabilities[given_rows] = probabilities[given_rows] * (void > 0) + masks
        return probabilities / probabilities.sum(dim=0)

    def masks(self, size: tuple[int, int]) -> dict[int, NDArray[np.bool_]]:
        """Return the mask (H, W) of every object, at a size of (H, W) pixels; disjoint."""
        channel = self.probabilities(size).argmax(dim=0).cpu().numpy()
        return {i: channel == number for number, i in enumerate(self.object_ids, start=1)}


def _aggregated(predicted: Tensor) -> Tensor:
    """Return probabilities (N+1, H, W) of objects (N, H, W) that were decoded apart."""
    return soft_aggregate(predicted[None])[0].softmax(dim=0)
