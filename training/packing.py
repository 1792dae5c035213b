"""Plans of a batch as a few arrays, cheap to send to another process or a device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.by_value import ByValue
from training.colours import NO_CHANGE
from training.plans import ClipPlan, Crop, LayerPlan
from training.recipes import Recipe


@dataclass(frozen=True)
class LayerGroup(ByValue):
    """L layers that are drawn together.

    Attributes:
        crops: One crop for each layer, or one for each of its frames.
        tracks: (T, L, numbers), see `warps.track_points`.
        mirror: (L,) bool, layers that continue as their mirror image.
        grey: (L,) bool, layers that continue in grey.
        colours: (L, 13), see `ColourChange.row`; None if no colours change.
        exposures: (L,) exposures as parts of the time between two frames.
        clips: (L,) number of the clip in the batch.
        depths: (L,) number of the layer in its clip, from the lowest up.
    """

    crops: tuple[tuple[Crop, ...], ...]
    tracks: Tensor
    mirror: Tensor
    grey: Tensor
    colours: Tensor | None
    exposures: Tensor
    clips: Tensor
    depths: Tensor

    def __len__(self) -> int:
        """Return L."""
        return len(self.crops)


@dataclass(frozen=True)
class PackedBatch(ByValue):
    """B clips.

    Attributes:
        recipe: Recipe of the clips.
        batch: B.
        stills: Grounds with one picture.
        films: Grounds with one picture per frame.
        cutouts: Layers over the grounds.
        targets: N numbers per clip, see `ClipPlan.targets`.
        colours: (B, 1+T, 13) changes of the clips, then of their frames; None for no change.
    """

    recipe: Recipe
    batch: int
    stills: LayerGroup
    films: LayerGroup
    cutouts: LayerGroup
    targets: tuple[tuple[int, ...], ...]
    colours: Tensor | None


def pack(plans: Sequence[ClipPlan], recipe: Recipe) -> PackedBatch:
    """Group the layers of a batch so that each group is drawn at once."""
    grounds = [(clip, 0, plan.ground) for clip, plan in enumerate(plans)]
    cutouts = [
        (clip, depth, layer)
        for clip, plan in enumerate(plans)
        for depth, layer in enumerate(plan.layers)
    ]
    rows = [[change.row for change in plan.colours] for plan in plans if plan.colours]
    return PackedBatch(
        recipe=recipe,
        batch=len(plans),
        stills=_group([g for g in grounds if len(g[2].crops) == 1], recipe),
        films=_group([g for g in grounds if len(g[2].crops) > 1], recipe),
        cutouts=_group(cutouts, recipe),
        targets=tuple(plan.targets for plan in plans),
        colours=_floats(rows) if rows else None,
    )


def _group(layers: list[tuple[int, int, LayerPlan]], recipe: Recipe) -> LayerGroup:
    plans = [layer for _, _, layer in layers]
    # One array from lists of rows: a tensor for each would cost more than drawing.
    tracks = [[step.row for step in (p.track.place, *p.track.steps)] for p in plans]
    changed = any(p.colours is not None for p in plans)
    return LayerGroup(
        crops=tuple(p.crops for p in plans),
        tracks=_floats(tracks).transpose(0, 1) if plans else torch.zeros(recipe.frames, 0, 0),
        mirror=torch.tensor([p.beyond == "mirror" for p in plans], dtype=torch.bool),
        grey=torch.tensor([p.beyond == "grey" for p in plans], dtype=torch.bool),
        colours=_floats([(p.colours or NO_CHANGE).row for p in plans]) if changed else None,
        exposures=torch.tensor([p.exposure for p in plans]),
        clips=torch.tensor([clip for clip, _, _ in layers], dtype=torch.long),
        depths=torch.tensor([depth for _, depth, _ in layers], dtype=torch.long),
    )


def _floats(rows: Sequence[Any]) -> Tensor:
    return torch.from_numpy(np.array(rows, dtype=np.float32))
