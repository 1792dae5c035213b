"""The experiments: one change each, on a small budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from training.phases import MarginRanges, Phase, Rate, TrainingConfig
from training.recipes import Curve, Ingredient, Mixture

TWO_FRAMES, THREE_FRAMES = 4000, 1500  # clips: at 128 px, then at 160 px
SWITCH = TWO_FRAMES / (TWO_FRAMES + THREE_FRAMES)

Change = Callable[[TrainingConfig], TrainingConfig]


@dataclass(frozen=True)
class Experiment:
    """One change to the base.

    Attributes:
        name: Name of its result, `training/results/NAME-SEED.json`.
        what: Description of the change.
        why: Reason for trying it.
        change: Function that changes the config.
        photographs: Whether to learn from all stills, instead of freely licensed data: clips of
            DAVIS, their frames, and shapes drawn by code.
    """

    name: str
    what: str
    why: str
    change: Change = lambda config: config
    photographs: bool = False


def base_config(config: TrainingConfig) -> TrainingConfig:
    """Return a config with one phase of 5,500 clips: both phases of a whole training in small."""
    early = Curve(((0.0, 1.0), (SWITCH, 1.0), (SWITCH, 0.0)))
    late = Curve(((0.0, 0.0), (SWITCH, 0.0), (SWITCH, 1.0)))
    ingredients = []
    for objects, share, batches in ((1, 0.75, (16, 8)), (2, 0.25, (10, 5))):
        ingredients += [
            Ingredient(
                size=(128, 128), frames=2, objects=(objects,), batch=batches[0],
                chance=_scaled(early, share), real=0.2, max_gap=4,
            ),
            Ingredient(
                size=(160, 160), frames=3, objects=(objects,), batch=batches[1],
                chance=_scaled(late, share), real=0.45,
            ),
        ]  # fmt: skip
    phase = Phase(
        name="experiment",
        clips=TWO_FRAMES + THREE_FRAMES,
        start="random",
        rate=Rate(peak=1.5e-3, end=1.5e-5),
        hardest=Curve(((0.1, 1.0), (0.5, 0.25))),
        recipes=Mixture(tuple(ingredients)),
    )
    return replace(config, phases=(phase,), check_size=240)


def _scaled(curve: Curve, factor: float) -> Curve:
    return Curve(tuple((progress, factor * value) for progress, value in curve.points))


def network(**changes: Any) -> Change:  # noqa: ANN401 any field of RMNetConfig
    """Return a change of fields of the network's config."""
    return lambda config: replace(config, network=replace(config.network, **changes))


def phase(**changes: Any) -> Change:  # noqa: ANN401 any field of Phase
    """Return a change of fields of the phase."""
    return lambda config: replace(config, phases=(replace(config.phases[0], **changes),))


def recipes(**changes: Any) -> Change:  # noqa: ANN401 any field of Ingredient
    """Return a change of fields of every recipe."""

    def change(config: TrainingConfig) -> TrainingConfig:
        ingredients = config.phases[0].recipes.ingredients
        return phase(recipes=Mixture(tuple(replace(x, **changes) for x in ingredients)))(config)

    return change


def mostly_several(config: TrainingConfig) -> TrainingConfig:
    """Put two or three objects into three quarters of the batches; the base has two in one."""
    ingredients = [
        replace(
            ingredient,
            objects=(1,) if ingredient.objects == (1,) else (2, 3),
            chance=_scaled(ingredient.chance, 1 / 3 if ingredient.objects == (1,) else 3),
        )
        for ingredient in config.phases[0].recipes.ingredients
    ]
    return phase(recipes=Mixture(tuple(ingredients)))(config)


WIDE = {
    "stem_width": 48,
    "stage_widths": (48, 96, 288),
    "key_width": 96,
    "value_width": 288,
    "decoder_widths": (144, 96, 48),
}

EXPERIMENTS = (
    Experiment("base", "nothing", "what the others are compared with; two seeds show the noise"),
    Experiment(
        "zeroed", 'read "zeroed"', "the released read: cells outside stay in the softmax",
        network(read="zeroed"),
    ),
    Experiment(
        "untied", "encoders untied", "tied ones match from step 0, and have fewer weights",
        network(tied_encoders=False),
    ),
    Experiment("wide", "widths x1.5", "whether it is size that is lacking", network(**WIDE)),
    Experiment("lovasz", "Lovász-softmax + NLL", "the published loss", phase(loss="lovasz")),
    Experiment(
        "through", "gradients through estimates", "the released code has them",
        phase(through_estimates=True),
    ),
    Experiment(
        "never-whole", "no whole-frame rows", "in use, regions are seldom the frame",
        phase(margins=MarginRanges(whole_frame=0.0)),
    ),
    Experiment(
        "always-whole", "whole-frame rows only", "global matching is the harder lesson",
        phase(margins=MarginRanges(whole_frame=1.0)),
    ),
    Experiment("no-twins", "no twins", "distractors that look the same", recipes(twins=0.0)),
    Experiment("real-20", "20 % real clips", "base: 20 %, then 45 %", recipes(real=0.2)),
    Experiment("real-45", "45 % real clips", "base: 20 %, then 45 %", recipes(real=0.45)),
    Experiment("real-70", "70 % real clips", "17 clips are few", recipes(real=0.7)),
    Experiment(
        "several", "2-3 objects in 75 % of batches", "base: 2 in 25 %", mostly_several
    ),
    Experiment(
        "photographs", "ECSSD, COCO, Penn-Fudan for stills", "what they are worth; for research only",
        photographs=True,
    ),
)  # fmt: skip
