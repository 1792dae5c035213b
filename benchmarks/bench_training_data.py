#!/usr/bin/env python3
"""Time the making of training clips for every recipe of a config, ms per clip.

    python -m benchmarks.bench_training_data ../shared/data --json training_data.json

Planning (numpy) and drawing are timed separately, in one thread; medians over batches. The last
rows are for TinyFlowNet: a pair, which is drawn once, and a view of it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TypeVar

import numpy as np
import torch

from benchmarks.machine import describe_machine
from training.packing import pack
from training.phases import TrainingConfig, read_config
from training.planning import plan_batch
from training.recipes import Recipe
from training.render import render
from training.sources import Sources
from training.views import look, noise_plane, random_view

CONFIG = Path(__file__).resolve().parents[1] / "training" / "configs" / "rmnet-small.json"
T = TypeVar("T")
LATE = 1.0  # progress at which recipes are drawn


def main() -> None:
    """Time every recipe."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder of data for training/")
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--max-stills", type=int, default=200, help="stills to read of each pack")
    parser.add_argument("--batches", type=int, default=5, help="batches of each recipe")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    config = read_config(given.config)
    sources = Sources.read([given.data], max_stills=given.max_stills)
    report = {**describe_machine(), "config": given.config.name}
    rows = []
    print(f"{'phase':<11}{'clip':>14}{'objects':>9}{'real':>6}{'plan':>8}{'draw':>8}  ms a clip")
    for name, recipe in recipes(config):
        plan, draw = time_recipe(sources, recipe, given.batches, with_flow=name == "flow pair")
        rows.append({
            "phase": name, "frames": recipe.frames, "size": [recipe.height, recipe.width],
            "objects": recipe.objects, "real": recipe.real, "plan": plan, "draw": draw,
        })  # fmt: skip
        size = f"{recipe.frames}x{recipe.height}x{recipe.width}"
        print(f"{name:<11}{size:>14}{recipe.objects:>9}{recipe.real:>6}{plan:>8.1f}{draw:>8.1f}")
    view = time_views(config, given.batches)
    print(f"{'flow view':<11}{'2x{}x{}'.format(*config.flow.size):>14}{'':>23}{view:>8.1f}")
    if given.json:
        rows.append({"phase": "flow view", "frames": 2, "size": config.flow.size, "draw": view})
        given.json.write_text(json.dumps({**report, "rows": rows}, indent=2) + "\n", "utf-8")


def recipes(config: TrainingConfig) -> list[tuple[str, Recipe]]:
    """Return the recipes of the phases, each once, and that of the pairs for the flow."""
    rng = np.random.default_rng(0)
    found: dict[tuple[float, ...], tuple[str, Recipe]] = {}
    named = [(phase.name, phase.recipes) for phase in config.phases if phase.name != "fine-tune"]
    for name, mixture in [*named, ("flow pair", config.flow.recipes)]:
        for ingredient in mixture.ingredients:
            recipe = ingredient.draw(LATE, rng)
            key = (recipe.height, recipe.width, recipe.frames, recipe.objects, recipe.real)
            found.setdefault(key, (name, recipe))
    return list(found.values())


def time_recipe(
    sources: Sources, recipe: Recipe, batches: int, *, with_flow: bool
) -> tuple[float, float]:
    """Return the times of planning and of drawing in a training process, ms per clip."""
    plans, draws = [], []
    for number in range(batches + 1):
        rng = np.random.default_rng(number)
        planned, seconds = timed(lambda rng=rng: plan_batch(sources, recipe, rng))
        plans.append(seconds)
        # Clip by clip, as make_batch draws on a CPU.
        _, seconds = timed(
            lambda planned=planned: [
                render(pack([plan], recipe), sources.pictures, with_flow=with_flow)
                for plan in planned
            ]
        )
        draws.append(seconds)
    scale = 1e3 / recipe.batch
    return median(plans[1:]) * scale, median(draws[1:]) * scale


def time_views(config: TrainingConfig, batches: int) -> float:
    """Return the time of a view of a pair that lies in memory, ms."""
    phase, rng = config.flow, np.random.default_rng(0)
    source = phase.recipes.ingredients[0].size
    frames = torch.from_numpy(rng.integers(0, 255, (1, 2, 3, *source), np.uint8))
    flow, noise = torch.zeros(1, 2, *source).half(), noise_plane()

    def draw() -> None:
        for _ in range(phase.batch):
            view = random_view(rng, source, phase.size, zoom=phase.zoom, camera=1.0)
            look([view], frames, flow, noise, phase.size)

    return median(timed(draw)[1] for _ in range(batches + 1)) * 1e3 / phase.batch


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """Return a result and its processor time, s."""
    start = time.process_time()
    result = work()
    return result, time.process_time() - start


if __name__ == "__main__":
    main()
