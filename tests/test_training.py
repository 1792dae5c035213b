"""The training commands of `training/`, on a data folder of a few synthetic images."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

TRAINING = Path(__file__).resolve().parents[1] / "training"
sys.path.insert(0, str(TRAINING))  # the commands are scripts beside their modules

import objective  # noqa: E402
import parallel  # noqa: E402
import runs  # noqa: E402
import schedule  # noqa: E402
from data import make_batch  # noqa: E402
from export import join  # noqa: E402
from layers import Recipe  # noqa: E402
from rmnet.warp import backward_warp  # noqa: E402
from sources import HELD_OUT, Sources, cut  # noqa: E402
from train import train  # noqa: E402
from train_flow import train_flow  # noqa: E402

TINY = replace(
    runs.SMALL,
    stem_width=4,
    stage_widths=(4, 8, 8),
    stage_depths=(1, 1, 1),
    key_width=4,
    value_width=8,
    decoder_widths=(8, 4, 4),
    flow_widths=(4, 4, 4, 8, 8),
)
PAIRS = Recipe(96, 128, batch=6, objects=2, colour=0)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    pack = root / "train" / "stills-a" / "blobs"
    for number in range(4):
        write_still(pack / f"{number}.jpg", rng, centre=(60 + 8 * number, 70))
    for clip in ("ball", HELD_OUT[0]):
        for t in range(8):
            write_still(
                root / "train" / "davis" / clip / f"{t:05}.jpg", rng, centre=(50 + 4 * t, 60)
            )
    return Sources(root)


def write_still(path: Path, rng: np.random.Generator, *, centre: tuple[int, int]) -> None:
    """A smooth picture with an ellipse on it, which has another colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = torch.from_numpy(rng.uniform(40, 210, (1, 3, 5, 6))).float()
    smooth = F.interpolate(coarse, (128, 160), mode="bicubic")[0].permute(1, 2, 0).numpy()
    y, x = np.mgrid[:128, :160]
    mask = ((x - centre[0]) / 26) ** 2 + ((y - centre[1]) / 20) ** 2 < 1
    smooth[mask] = 255 - smooth[mask]
    Image.fromarray(smooth.clip(0, 255).astype(np.uint8)).save(path, quality=95)
    Image.fromarray(mask.astype(np.uint8)).save(path.with_suffix(".png"))


def tiny_recipe(progress: float, rng: np.random.Generator) -> Recipe:
    return Recipe(64, 64, frames=3, objects=int(rng.integers(1, 3)), batch=2, real=0.4)


def tiny_pairs(progress: float, rng: np.random.Generator) -> Recipe:
    return Recipe(64, 64, batch=2)


@pytest.mark.parametrize("real", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("objects", [1, 3])
def test_clips_have_the_shapes_and_ranges_they_state(sources, real, objects):
    recipe = Recipe(64, 96, frames=3, objects=objects, batch=4, real=real)
    clips = make_batch(sources, recipe, np.random.default_rng(1))
    assert clips.frames.shape == (4, 3, 3, 64, 96)
    assert clips.frames.dtype == torch.uint8
    assert clips.masks.shape == (4, 3, objects, 64, 96)
    assert clips.masks.min() >= 0
    # Each pixel is seen of one object at most, up to the blend of a border.
    assert clips.masks.sum(2).max() <= 1 + 1e-5
    assert (clips.masks[:, 0].sum((-2, -1)) >= 60).all()
    pairs = 2 if real == 0 else 0
    assert clips.flow.shape == (4, pairs, 2, 64, 96)
    assert clips.visible.shape == (4, pairs, 64, 96)


def test_same_seed_makes_same_clips_and_another_makes_others(sources):
    recipe = Recipe(64, 64, frames=2, batch=3, real=0.4)
    first, again, other = (
        make_batch(sources, recipe, np.random.default_rng(seed)) for seed in (5, 5, 6)
    )
    assert torch.equal(first.frames, again.frames)
    assert torch.equal(first.masks, again.masks)
    assert not torch.equal(first.frames, other.frames)


def test_stated_flow_carries_the_last_frame_onto_this_one(sources):
    clips = make_batch(sources, PAIRS, np.random.default_rng(2))
    frames, flow = clips.frames.float(), clips.flow[:, 0]
    # Half a pixel inside what is visible: layers blend at their borders.
    seen = -F.max_pool2d(-clips.visible.float(), 5, 1, 2) > 0
    off = pixel_error(backward_warp(frames[:, 0], flow), frames[:, 1], seen)
    moved = pixel_error(frames[:, 0], frames[:, 1], seen)
    assert seen.float().mean() > 0.4
    assert off < 2
    assert moved > 4 * off
    assert pixel_error(backward_warp(frames[:, 0], -flow), frames[:, 1], seen) > moved


def pixel_error(found: Tensor, wanted: Tensor, seen: Tensor) -> float:
    return float((found - wanted).abs().mean(1, keepdim=True)[seen].mean())


def test_stated_flow_carries_the_masks(sources):
    clips = make_batch(sources, PAIRS, np.random.default_rng(3))
    carried = backward_warp(clips.masks[:, 0], clips.flow[:, 0])
    difference = (carried - clips.masks[:, 1]).abs() * clips.visible[:, 0, None]
    assert difference.mean() < 0.01


def test_cutout_keeps_its_place_when_shrunk():
    mask = torch.zeros(64, 80, dtype=torch.bool)
    mask[8:56, 16:72] = True
    whole = cut(torch.zeros(3, 64, 80, dtype=torch.uint8), mask, whole=True)
    small, scale = whole.shrunk_for(0.3)
    assert scale == pytest.approx(0.6)
    y, x = torch.meshgrid(*map(torch.arange, small.picture.shape[1:]), indexing="ij")
    weight = small.picture[3] / small.picture[3].sum()
    assert small.centre == pytest.approx((float((x * weight).sum()), float((y * weight).sum())))


def test_held_out_clips_are_not_among_the_training_clips(sources):
    assert set(sources.videos) == {"ball"}
    assert set(sources.held_out) == {HELD_OUT[0]}


def test_missing_data_says_what_is_expected(tmp_path):
    with pytest.raises(FileNotFoundError, match="--data"):
        Sources(tmp_path)


def test_learning_rate_rises_then_falls_to_its_end():
    rates = [schedule.learning_rate(p, peak=1.0, end=0.01) for p in np.linspace(0, 1, 101)]
    top = int(np.argmax(rates))
    assert rates[top] == pytest.approx(1.0)
    assert top == 3
    assert rates[-1] == pytest.approx(0.01)
    assert sorted(rates[top:], reverse=True) == rates[top:]


def test_hardest_pixels_alone_count_towards_the_end():
    logits = torch.zeros(1, 2, 4, 4)
    logits[:, 1, 0] = -9  # four pixels are surely, and wrongly, background
    masks = torch.ones(1, 2, 1, 4, 4)
    everything = objective.segmentation_loss([logits], masks, hardest=1.0)
    hardest = objective.segmentation_loss([logits], masks, hardest=0.25)
    assert hardest - everything == pytest.approx(0.75 * (9 - np.log(2)), abs=1e-2)


@pytest.mark.parametrize("run", ["segmentation", "flow"])
def test_resumed_run_equals_uninterrupted_one(sources, tmp_path, run):
    command, draw = {"segmentation": (train, tiny_recipe), "flow": (train_flow, tiny_pairs)}[run]
    settings = {"clips": 8, "config": TINY, "workers": 0, "draw": draw}
    whole = command(sources, tmp_path / "whole", **settings)
    command(sources, tmp_path / "parts", stop_after=4, **settings)
    resumed = command(sources, tmp_path / "parts", **settings)
    assert_same_state(whole.state_dict(), resumed.state_dict())
    states = [
        torch.load(tmp_path / part / "checkpoint.pt", weights_only=True)
        for part in ("whole", "parts")
    ]
    assert states[0]["seen"] == states[1]["seen"] == 8
    assert_same_state(states[0]["module"], states[1]["module"])


def assert_same_state(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_both_runs_join_into_one_network(sources, tmp_path):
    settings = {"clips": 2, "config": TINY, "workers": 0}
    network = train(sources, tmp_path / "small", draw=tiny_recipe, **settings)
    flow = train_flow(sources, tmp_path / "flow", draw=tiny_pairs, **settings)
    checkpoints = (tmp_path / name / "checkpoint.pt" for name in ("small", "flow"))
    joined = join(*checkpoints, config=TINY)
    assert_same_state(joined.flow.state_dict(), flow.state_dict())
    assert_same_state(joined.decoder.state_dict(), network.decoder.state_dict())
    log = [json.loads(line) for line in (tmp_path / "small" / "log.jsonl").read_text().splitlines()]
    assert 0 <= log[-1]["held_out"] <= 1


def test_batch_is_divided_among_processes(sources):
    parts = [parallel.Part(number, 2) for number in range(2)]
    shares = [
        next(
            iter(
                schedule.Batches(sources, tiny_recipe, seed=0, seen=0, planned=4, part=part),
            )
        )
        for part in parts
    ]
    assert [share.recipe.batch for share in shares] == [1, 1]
    assert [share.after for share in shares] == [2, 2]
    assert not torch.equal(shares[0].clips.frames, shares[1].clips.frames)
