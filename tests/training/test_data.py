"""Clips made on the fly: how they are planned and drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from rmnet.geometry.warp import backward_warp
from training import render
from training.colours import GREY, change_colours, random_change
from training.layouts import Found
from training.motion import random_track
from training.packing import pack
from training.pictures import read_video
from training.planning import plan_batch
from training.plans import shrink_for
from training.recipes import Recipe
from training.render import make_batch
from training.sources import HELD_OUT, Sources
from training.visible import visible_areas
from training.warps import apply_warps, look_up, mirrored
from training_tools import write_clip, write_folder

PAIRS = Recipe(96, 128, batch=6, objects=2, colour=0)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return Sources.read([write_folder(tmp_path_factory.mktemp("data"))])


@pytest.mark.parametrize("real", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("objects", [1, 3])
def test_clips_have_the_stated_shapes_and_ranges(sources, real, objects):
    recipe = Recipe(64, 96, frames=3, objects=objects, batch=4, real=real)
    clips = make_batch(sources, recipe, np.random.default_rng(1))
    assert clips.frames.shape == (4, 3, 3, 64, 96)
    assert clips.frames.dtype == torch.uint8
    assert clips.masks.shape == (4, 3, objects, 64, 96)
    assert clips.masks.min() >= 0
    # A pixel shows at most one object, except where borders blend.
    assert clips.masks.sum(2).max() <= 1 + 1e-5
    assert (clips.masks[:, 0].sum((-2, -1)) >= 50).all()
    pairs = 2 if real == 0 else 0
    assert clips.flow.shape == (4, pairs, 2, 64, 96)
    assert clips.visible.shape == (4, pairs, 64, 96)


def test_same_seed_makes_the_same_clips_and_another_makes_others(sources):
    recipe = Recipe(64, 64, frames=2, batch=3, real=0.4)
    first, again, other = (
        make_batch(sources, recipe, np.random.default_rng(seed)) for seed in (5, 5, 6)
    )
    assert torch.equal(first.frames, again.frames)
    assert torch.equal(first.masks, again.masks)
    assert not torch.equal(first.frames, other.frames)


@pytest.mark.parametrize(("real", "objects"), [(0.0, 1), (0.0, 2), (0.6, 2)])
def test_batch_drawn_at_once_equals_one_drawn_clip_by_clip(sources, real, objects):
    recipe = Recipe(64, 96, frames=3, objects=objects, batch=6, real=real)
    alone = make_batch(sources, recipe, np.random.default_rng(4))
    plans = plan_batch(sources, recipe, np.random.default_rng(4))
    together = render.render(pack(plans, recipe), sources.pictures, with_flow=real == 0)
    difference = (alone.frames.int() - together.frames.int()).abs()
    assert difference.max() <= 1  # rounding: additions may run in another order
    torch.testing.assert_close(alone.masks, together.masks, atol=1e-3, rtol=0)
    torch.testing.assert_close(alone.flow, together.flow, atol=1e-2, rtol=0)


@pytest.mark.cuda
def test_gpu_draws_the_clips_that_a_cpu_draws(sources):
    recipe = Recipe(64, 96, frames=3, objects=2, batch=6, real=0.5)
    packed = pack(plan_batch(sources, recipe, np.random.default_rng(4)), recipe)
    here = render.render(packed, sources.pictures, with_flow=False)
    pictures = [picture.to(torch.device("cuda")) for picture in sources.pictures]
    there = render.render(packed, pictures, with_flow=False)
    off = (here.frames.int() - there.frames.cpu().int()).abs()
    assert (off > 1).float().mean() < 1e-3
    assert (here.masks - there.masks.cpu()).abs().mean() < 1e-3


def test_stated_flow_carries_the_last_frame_onto_this_one(sources):
    clips = make_batch(sources, PAIRS, np.random.default_rng(2))
    frames, flow = clips.frames.float(), clips.flow[:, 0]
    # Keep 2 px away from what is hidden: layers blend at their borders.
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


def test_planned_areas_are_the_areas_drawn(sources):
    recipe = Recipe(64, 64, objects=2, batch=8, real=0.5, colour=0)
    plans = plan_batch(sources, recipe, np.random.default_rng(7))
    for plan in plans:
        drawn = render.render(pack([plan], recipe), sources.pictures, with_flow=False).masks
        areas = drawn[0, 0].sum((-2, -1)).tolist()
        assert visible_areas(plan, sources, recipe) == pytest.approx(areas, rel=0.15, abs=20)


def test_all_objects_of_a_real_clip_are_trained_on(tmp_path):
    rng = np.random.default_rng(0)
    write_clip(tmp_path / "pair", rng, objects=2)
    frames = sorted((tmp_path / "pair").glob("*.jpg"))
    video = read_video(frames, [path.with_suffix(".png") for path in frames], None)
    sources = Sources([Found(videos={"pair": video})])
    recipe = Recipe(96, 96, frames=3, objects=2, batch=4, real=1)
    plans = plan_batch(sources, recipe, np.random.default_rng(0))
    assert all(sorted(plan.targets) == [-2, -1] for plan in plans)  # both belong to the film
    assert {plan.ground.crops[0].objects for plan in plans} == {(1, 2), (2, 1)}


def test_without_stills_objects_are_cut_from_frames(tmp_path):
    root = write_folder(tmp_path)
    clips = Sources.read([root]).films
    found = [Found(videos={"ball": video_of(root / "train" / "davis" / "ball")})]
    sources = Sources(found)
    assert set(clips) == set(sources.films) == {"ball"}
    clips = make_batch(sources, Recipe(64, 64, batch=3), np.random.default_rng(0))
    assert clips.frames.float().std() > 5


def video_of(folder):
    frames = sorted(folder.glob("*.jpg"))
    return read_video(frames, [path.with_suffix(".png") for path in frames], None)


def test_held_out_clips_are_not_among_the_training_clips(sources):
    assert set(sources.films) == {"ball"}
    assert set(sources.held_out) == {HELD_OUT[0]}


def test_gaps_count_frames_of_the_film(tmp_path):
    rng = np.random.default_rng(0)
    write_clip(tmp_path / "slow", rng)
    frames = [path for path in sorted((tmp_path / "slow").glob("*.jpg")) for _ in range(5)]
    masks = [path.with_suffix(".png") if i % 5 == 0 else None for i, path in enumerate(frames)]
    video = read_video(frames, masks, None)
    assert (len(video.pictures), video.step) == (8, 5)
    sources = Sources([Found(videos={"slow": video})])
    recipe = Recipe(64, 64, frames=2, batch=6, real=1, max_gap=5)
    for plan in plan_batch(sources, recipe, rng):
        first, second = (crop.picture for crop in plan.ground.crops)
        assert abs(first - second) == 1  # 5 frames apart


FAST = Recipe(96, 96, frames=3, batch=12, smallest=16, jump=1.5, thin=0.0, blur=0.0)


def layers_of(sources, recipe, seed=0):
    plans = plan_batch(sources, recipe, np.random.default_rng(seed))
    return [layer for plan in plans for layer in plan.layers]


def test_cutouts_jump_up_to_their_own_length_and_more(sources):
    still = replace(FAST, motion=0.0, batch=40)
    jumps = []
    for layer in layers_of(sources, still):
        extent = layer.crops[0].box[3] - layer.crops[0].box[1]
        steps = [step.pivot - step.target for step in layer.track.steps]
        lengths = np.linalg.norm(steps, axis=1)
        assert lengths == pytest.approx(lengths[0])  # constant speed
        assert lengths.max() <= 0.4 * still.side + 1e-6
        scale = 1 / np.sqrt(abs(np.linalg.det(layer.track.place.matrix)))
        jumps.append(lengths[0] / (extent / layer.crops[0].shrink * scale))
    assert max(jumps) > 0.8
    assert min(jumps) < 0.3
    calm = layers_of(sources, replace(still, jump=0.0))
    assert all(np.allclose(s.pivot, s.target) for layer in calm for s in layer.track.steps)


def test_thin_cutouts_are_stretched(sources):
    def ratios(thin):
        singular = [
            np.linalg.svd(layer.track.place.matrix, compute_uv=False)
            for layer in layers_of(sources, replace(FAST, thin=thin, batch=40))
        ]
        return np.array([values[0] / values[1] for values in singular])

    assert ratios(0.0).max() < 1.7
    thin = ratios(1.0)
    assert thin.min() > 1.3
    assert thin.max() > 4
    mixed = ratios(0.5)
    assert 0.3 < (mixed > 1.9).mean() < 0.7


def test_recipes_can_ask_for_smaller_objects(sources):
    def least(smallest):
        recipe = replace(FAST, smallest=smallest, batch=60, moved_whole=0.0, jump=0.0)
        masks = make_batch(sources, recipe, np.random.default_rng(0)).masks
        return float(masks[:, 0].sum((-2, -1)).min())

    assert FAST.least_area == pytest.approx(60 * 16**2 / 24**2)
    assert FAST.least_area < least(16) < 200 < least(24)


def test_blurred_cutouts_are_smeared_along_their_path(sources):
    """Their masks keep their sum but cover more pixels."""
    recipe = replace(FAST, batch=20, colour=0, objects=1, moved_whole=0.0, twins=0.0)
    plans = plan_batch(sources, recipe, np.random.default_rng(3))
    alone = [replace(p, layers=(p.layers[p.targets[0]],), targets=(0,)) for p in plans]
    still = replace(recipe, motion=0.0)
    shares, totals = [], []
    for plan in alone:
        (layer,) = plan.layers
        masks = []
        for exposure in (0.0, 0.8):
            moved = replace(plan, layers=(replace(layer, exposure=exposure),))
            clips = render.render(pack([moved], still), sources.pictures, with_flow=False)
            masks.append(clips.masks[0, 1, 0])
        sharp, blurred = masks
        shares.append(float((blurred > 0.01).sum() / (sharp > 0.01).sum().clamp(min=1)))
        totals.append(float(blurred.sum() / sharp.sum().clamp(min=1)))
        assert blurred.max() <= 1 + 1e-5
    assert np.median(shares) > 1.2
    assert np.median(totals) == pytest.approx(1, abs=0.15)


def test_unblurred_layers_of_a_blurred_batch_stay_sharp(sources):
    plans = plan_batch(sources, FAST, np.random.default_rng(5))
    first = next(k for k, plan in enumerate(plans) if plan.layers)
    top = replace(plans[first].layers[-1], exposure=0.5)
    plans.append(replace(plans[first], layers=(*plans[first].layers[:-1], top)))
    clips = render.render(pack(plans, FAST), sources.pictures, with_flow=False)
    plain = render.render(pack(plans[:-1], FAST), sources.pictures, with_flow=False)
    assert (clips.frames[:-1].int() - plain.frames.int()).abs().max() <= 1


def test_data_without_visible_objects_is_an_error(sources):
    with pytest.raises(ValueError, match="objects"):
        plan_batch(sources, Recipe(16, 16, objects=6, real=0), np.random.default_rng(0))


def test_shrinking_a_picture_keeps_its_positions():
    assert shrink_for(0.8, (64, 80), (10, 20)) == (1, (10, 20), 0.8)
    factor, centre, scale = shrink_for(0.2, (64, 80), (9.5, 19.5))
    assert (factor, scale) == (4, 0.8)
    assert centre == (2.0, 4.5)  # pixels 8..11 shrink to 2, pixels 18..21 to 4.5


def test_many_warps_at_once_equal_each_alone():
    rng = np.random.default_rng(0)
    place = [
        random_track(
            rng, 2, side=64, start=(30, 30), centre=(20, 25), scale=0.7, extent=40
        ).place
        for _ in range(3)
    ]  # fmt: skip
    rows = torch.from_numpy(np.stack([warp.row for warp in place])).float()
    points = rng.uniform(0, 64, (12, 2))
    grid = torch.from_numpy(points.T.reshape(1, 2, 1, 3, 4)).float().expand(3, -1, -1, -1, -1)
    found = apply_warps(rows, grid).flatten(2)
    for warp, together in zip(place, found, strict=True):
        np.testing.assert_allclose(warp(points).T, together.numpy(), atol=1e-3)


def test_mirrored_points_equal_reflection_padding():
    picture = torch.rand(1, 2, 9, 12)
    points = torch.rand(1, 2, 1, 20, 20) * 60 - 20
    ends = torch.tensor([11.0, 8.0])
    grid = points[:, :, 0].permute(0, 2, 3, 1) * 2 / ends - 1
    wanted = F.grid_sample(picture, grid, padding_mode="reflection", align_corners=True)
    found = look_up(picture, mirrored(points, torch.tensor([[12, 9]])))
    torch.testing.assert_close(found[:, :, 0], wanted, atol=1e-4, rtol=0)


def test_changed_colours_equal_the_steps_one_by_one():
    rng = np.random.default_rng(3)
    change = random_change(rng, 1.0)
    frames = torch.rand(1, 3, 2, 4, 4) * 255
    gains = torch.from_numpy(change.gains).float().view(3, 1, 1, 1)
    bright = frames * gains
    contrast = 1 - change.pivot
    mix = torch.from_numpy(change.matrix / change.gains / contrast).float()
    saturated = torch.einsum("ij,bjthw->bithw", mix, bright)
    wanted = saturated * contrast + bright.mean() * (1 - contrast)
    row = torch.from_numpy(change.row).float()[None]
    torch.testing.assert_close(change_colours(frames, row), wanted, atol=1e-2, rtol=0)
    fixed = change_colours(frames, row, pivot=GREY)
    shift = float(change.gains.mean() * GREY - bright.mean()) * change.pivot
    torch.testing.assert_close(fixed, wanted + shift, atol=1e-2, rtol=0)
