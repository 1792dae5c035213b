"""Training configs: one network, its phases, and the training of its flow."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rmnet.config import RMNetConfig
from training.recipes import Curve, Mixture
from training.strict_json import TrainingConfigError, build, check

# Initial weights of a phase: random; random but for encoders that classify ImageNet; the averaged
# weights of a run or of a folder; or a run as it stood, with its optimiser.
Start = Literal["random", "imagenet", "average", "continue"]
LossName = Literal["hardest", "lovasz"]


@dataclass(frozen=True)
class Rate:
    """A learning rate that rises over the warm-up, then falls by a half cosine.

    Attributes:
        peak: Rate at the end of the warm-up.
        end: Rate at progress 1.
        warm_up: Progress at the end of the warm-up.
    """

    peak: float
    end: float
    warm_up: float = 0.03

    def __post_init__(self) -> None:
        check(0 < self.end <= self.peak, "end", self.end, "above 0, at most `peak`")
        check(0 <= self.warm_up < 1, "warm_up", self.warm_up, "from 0 to below 1")

    def __call__(self, progress: float) -> float:
        """Return the learning rate at a progress in [0, 1]."""
        if progress < self.warm_up:
            return self.peak * max(progress, 0.001) / self.warm_up
        angle = math.pi * min(1.0, (progress - self.warm_up) / (1 - self.warm_up))
        return self.end + (self.peak - self.end) * 0.5 * (1 + math.cos(angle))


@dataclass(frozen=True)
class MarginRanges:
    """Margins around boxes in training, px, drawn for every object of every clip.

    Attributes:
        query: Least and most around the boxes where a frame is searched.
        memory: Least and most around the boxes where a past frame is remembered.
        whole_frame: Part of the objects for which both boxes are the whole frame.
    """

    query: tuple[int, int] = (24, 64)
    memory: tuple[int, int] = (16, 48)
    whole_frame: float = 0.3

    def __post_init__(self) -> None:
        for name in ("query", "memory"):
            low, high = getattr(self, name)
            check(0 <= low <= high, name, [low, high], "[least, most] px, from 0")
        check(0 <= self.whole_frame <= 1, "whole_frame", self.whole_frame, "from 0 to 1")


@dataclass(frozen=True, kw_only=True)
class Phase:
    """The work of one command. Progress is clips seen / clips planned, mapped onto `span`.

    Attributes:
        name: Name for `--phase`.
        clips: Number of clips to train on, unless `--clips` gives another.
        start: Origin of the weights; "average" and "continue" need `--from`, "imagenet" can do
            without and then takes the trunk of a package.
        span: Part of a longer schedule that this phase covers: rate, curves and chances are taken
            between these two values of progress.
        rate: Learning rate.
        loss: "hardest": cross-entropy of the hardest pixels + 0.5 soft Jaccard. "lovasz":
            Lovász-softmax + NLL, as published.
        hardest: Part of the pixels that the cross-entropy counts; for "hardest" only.
        margins: Margins around the boxes.
        trunk_rate: Factor on the learning rate of the encoders without their mask stems.
        freeze_batchnorm: Whether BatchNorm keeps its statistics.
        fold_batchnorm: Whether BatchNorms are folded into the convolutions of
            `efficientnet_lite0`: faster, with the same results. Needs `freeze_batchnorm`.
        through_estimates: Whether gradients flow through a frame's estimate into the next.
            Released code: yes.
        recipes: Recipes of the batches.
    """

    name: str
    clips: int
    rate: Rate
    recipes: Mixture
    start: Start = "average"
    span: tuple[float, float] = (0.0, 1.0)
    loss: LossName = "hardest"
    hardest: Curve = field(default_factory=lambda: Curve.constant(0.25))
    margins: MarginRanges = field(default_factory=MarginRanges)
    trunk_rate: float = 1.0
    freeze_batchnorm: bool = False
    fold_batchnorm: bool = False
    through_estimates: bool = False

    def __post_init__(self) -> None:
        check(bool(self.name), "name", self.name, "a word")
        check(self.clips >= 1, "clips", self.clips, "at least 1")
        low, high = self.span
        check(0 <= low < high <= 1, "span", [low, high], "[from, to] within 0 and 1")
        check(self.trunk_rate >= 0, "trunk_rate", self.trunk_rate, "at least 0")
        folds = self.freeze_batchnorm or not self.fold_batchnorm
        check(folds, "fold_batchnorm", self.fold_batchnorm, "true with `freeze_batchnorm` only")
        parts = [value for _, value in self.hardest.points]
        check(all(0 < part <= 1 for part in parts), "hardest", parts, "above 0, at most 1")


@dataclass(frozen=True, kw_only=True)
class FlowPhase:
    """The training of TinyFlowNet, on many views of pairs of frames that are drawn once.

    Attributes:
        clips: Number of views to learn from, unless `--clips` gives another.
        rate: Learning rate.
        recipes: Recipes of the pairs: of one size, with two frames, none real.
        drawn: Number of pairs to draw.
        real: Number of further pairs of real frames with the flow of OpenCV's DIS; 0 needs no
            OpenCV.
        size: Height and width of a view, px.
        batch: Views per step.
        easiest: Part of the pairs in use, the slowest first; a curve.
        zoom: Least and most pixels of a view per pixel of a pair.
        camera: Factor on the movement of the whole view; a curve.
        weight_decay: Weight decay of AdamW.
        clip_norm: Largest norm of the gradient.
        average_decay: Decay per step of the moving average that is exported.
    """

    clips: int
    rate: Rate
    recipes: Mixture
    drawn: int
    real: int = 0
    size: tuple[int, int] = (192, 256)
    batch: int = 8
    easiest: Curve = field(default_factory=lambda: Curve.constant(1.0))
    zoom: tuple[float, float] = (1.0, 2.0)
    camera: Curve = field(default_factory=lambda: Curve.constant(1.0))
    weight_decay: float = 1e-4
    clip_norm: float = 5.0
    average_decay: float = 0.999

    def __post_init__(self) -> None:
        check(self.clips >= 1, "clips", self.clips, "at least 1")
        check(self.drawn >= 1, "drawn", self.drawn, "at least 1")
        check(self.real >= 0, "real", self.real, "at least 0")
        check(self.batch >= 1, "batch", self.batch, "at least 1")
        sides = all(side > 0 and side % 64 == 0 for side in self.size)
        check(sides, "size", self.size, "height and width in px, multiples of 64")
        low, high = self.zoom
        check(0 < low <= high, "zoom", self.zoom, "[least, most], above 0")
        shares = [value for _, value in self.easiest.points]
        check(all(0 < share <= 1 for share in shares), "easiest", shares, "above 0, at most 1")
        check(self.camera.lowest >= 0, "camera", self.camera, "values from 0")
        sizes = {ingredient.size for ingredient in self.recipes.ingredients}
        check(len(sizes) == 1, "size", sizes, "recipes of one size")
        for ingredient in self.recipes.ingredients:
            check(ingredient.real == 0, "real", ingredient.real, "0: the flow must be known")
            check(ingredient.frames == 2, "frames", ingredient.frames, "2")


@dataclass(frozen=True, kw_only=True)
class Optimiser:
    """AdamW and the moving average.

    Attributes:
        weight_decay: Weight decay of AdamW; biases and BatchNorms have none.
        betas: Betas of AdamW.
        clip_norm: Largest norm of the gradient.
        average_decay: Decay per step of the moving average that is exported.
    """

    weight_decay: float = 0.03
    betas: tuple[float, float] = (0.9, 0.98)
    clip_norm: float = 2.0
    average_decay: float = 0.996


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """A file of `training/configs/`.

    Attributes:
        network: The library's own config.json, as an object.
        flow: Training of TinyFlowNet.
        phases: Phases, in their intended order.
        optimiser: Optimiser of all phases.
        check_size: Shorter side inside the network at checks on held-out clips, px.
    """

    network: RMNetConfig
    flow: FlowPhase
    phases: tuple[Phase, ...]
    optimiser: Optimiser = field(default_factory=Optimiser)
    check_size: int = 240

    def phase(self, name: str) -> Phase:
        """Return the phase of a name."""
        for phase in self.phases:
            if phase.name == name:
                return phase
        names = ", ".join(phase.name for phase in self.phases)
        raise TrainingConfigError(f"there is no phase {name!r}; accepted: --phase with {names}")


def read_config(path: Path) -> TrainingConfig:
    """Read and check a training config."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingConfigError(
            f"{path} cannot be read: {error}; accepted: a file such as "
            "training/configs/rmnet-small.json"
        ) from error
    return config_from_json(fields, path.name)


def config_from_json(fields: Any, where: str) -> TrainingConfig:  # noqa: ANN401
    """Make a config from parsed JSON."""
    config = build(TrainingConfig, fields, where)
    names = [phase.name for phase in config.phases]
    if len(set(names)) != len(names):
        raise TrainingConfigError(f"{where}: phases are named {names}; accepted: each name once")
    return config
