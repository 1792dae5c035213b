"""Plans of a batch as a few arrays, which travel cheaply between processes and to a device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from by_value import ByValue
from colours import NO_CHANGE
from plans import ClipPlan, Crop, LayerPlan
from recipes import Recipe


@dataclass(frozen=True)
class LayerGroup(ByValue):
    """L layers that are drawn together.

    Attributes:
        crops: For each layer one, or one a frame.
        tracks: (T, L, numbers), see `warps.track_points`.
        mirror: (L,) bool, layers that go on as their mirror image.
        grey: (L,) bool, layers that go on in grey.
        colours: (L, 13), see `ColourChange.row`; None if none is changed.
        exposures: (L,) parts of the time between two frames.
        clips: (L,) which clip of the batch each is in.
        depths: (L,) its number there, from the lowest up.
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
        """How many layers."""
        return len(self.crops)


@dataclass(frozen=True)
class PackedBatch(ByValue):
    """B clips.

    Attributes:
        recipe: What they were drawn by.
        batch: B.
        stills: Grounds of one picture.
        films: Grounds of one picture a frame.
        cutouts: The layers over them.
        targets: N numbers a clip, as of `ClipPlan.targets`.
        colours: (B, 1+T, 13): of the clips, then of their frames; None for no change.
    """

    recipe: Recipe
    batch: int
    stills: LayerGroup
    films: LayerGroup
    cutouts: LayerGroup
    targets: tuple[tuple[int, ...], ...]
    colours: Tensor | None


def pack(plans: Sequence[ClipPlan], recipe: Recipe) -> PackedBatch:
    """Put the layers of a batch into groups that can be drawn at once."""
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
    # One array from lists of rows: making a tensor of each would cost more than drawing them.
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


def _floats(rows: list) -> Tensor:
    return torch.from_numpy(np.array(rows, dtype=np.float32))
