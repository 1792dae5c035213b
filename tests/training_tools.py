"""A data folder of a few synthetic images, and tiny settings for the training tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from training.phases import FlowPhase, Phase, Rate, TrainingConfig, read_config
from training.recipes import Curve, Ingredient, Mixture

TRAINING = Path(__file__).resolve().parents[1] / "training"
SMALL = read_config(TRAINING / "configs" / "rmnet-small.json")
EXPERIMENTS = read_config(TRAINING / "configs" / "experiments-small.json")
WIDTHS = {
    "stem_width": 4,
    "stage_widths": (4, 8, 8),
    "stage_depths": (1, 1, 1),
    "key_width": 4,
    "value_width": 8,
    "decoder_widths": (8, 4, 4),
    "flow_widths": (4, 4, 4, 8, 8),
}
RATE = Rate(peak=1e-3, end=1e-5)
CLIPS = Mixture((
    Ingredient(size=(64, 64), batch=2, frames=3, real=0.4),
    Ingredient(size=(64, 64), batch=2, frames=3, objects=(2,), real=0.4),
))  # fmt: skip
HARDEST = Curve(((0.1, 1.0), (0.5, 0.25)))
PHASE = Phase(
    name="tiny", clips=8, rate=RATE, recipes=CLIPS, start="random", hardest=HARDEST
)  # fmt: skip
TINY = TrainingConfig(
    network=replace(EXPERIMENTS.network, **WIDTHS),
    flow=FlowPhase(
        clips=8,
        rate=RATE,
        recipes=Mixture((Ingredient(size=(64, 80), batch=2),)),
        drawn=6,
        size=(64, 64),
        batch=2,
    ),
    phases=(PHASE,),
    check_size=64,
)


def write_folder(root: Path, *, held_out: str = "bus") -> Path:
    """Write stills and clips in a layout that training reads; return the folder."""
    rng = np.random.default_rng(0)
    for number in range(4):
        still = root / "train" / "stills-a" / "blobs" / f"{number}.jpg"
        write_still(still, rng, centres=[(60 + 8 * number, 70)])
    for clip in ("ball", held_out):
        write_clip(root / "train" / "davis" / clip, rng)
    return root


def write_clip(folder: Path, rng: np.random.Generator, *, objects: int = 1) -> None:
    """Write eight frames of ellipses that move right, with their masks."""
    for t in range(8):
        centres = [(44 + 4 * t + 50 * k, 60) for k in range(objects)]
        write_still(folder / f"{t:05}.jpg", rng, centres=centres)


def write_still(
    path: Path,
    rng: np.random.Generator,
    *,
    centres: list[tuple[int, int]],
    mask: Path | None = None,
) -> None:
    """Write a smooth picture with ellipses in inverted colours, and their mask of ids 1, 2, ..."""
    coarse = torch.from_numpy(rng.uniform(40, 210, (1, 3, 5, 6))).float()
    smooth = F.interpolate(coarse, (128, 160), mode="bicubic")[0].permute(1, 2, 0).numpy()
    y, x = np.mgrid[:128, :160]
    labels = np.zeros((128, 160), np.uint8)
    for number, centre in enumerate(centres, 1):
        inside = ((x - centre[0]) / 26) ** 2 + ((y - centre[1]) / 20) ** 2 < 1
        smooth[inside] = 255 - smooth[inside]
        labels[inside] = number
    mask = mask or path.with_suffix(".png")
    for file in (path, mask):
        file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(smooth.clip(0, 255).astype(np.uint8)).save(path, quality=95)
    Image.fromarray(labels).save(mask)


def assert_same_state(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
