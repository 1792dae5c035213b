"""TinyFlowNet's training data: pairs drawn once, views of them, a teacher for real frames."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from rmnet.geometry.warp import backward_warp
from training import pair_bank
from training.layouts import Found
from training.pair_bank import open_bank
from training.pictures import Picture, Video
from training.sources import Sources
from training.strict_json import TrainingConfigError
from training.teacher import believed, dis_teacher
from training.train_flow import flow_loss, train_flow, view_batches
from training.views import HALF, look, noise_plane, random_view
from training_tools import TINY, write_folder

SIZE = (64, 96)  # of a view


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return Sources.read([write_folder(tmp_path_factory.mktemp("data"))])


def waves(points):
    """Return the colours (3, ...) of a smooth picture at points (2, ...)."""
    x, y = points
    planes = [np.sin(x / 9 + k) * np.cos(y / (7 + k)) for k in range(3)]
    return 128 + 100 * torch.from_numpy(np.stack(planes)).float()


def moving_pair(step=(3.0, -2.0), size=(96, 128)):
    """Return a frame and its previous one, shifted by `step` px, as (1, 2, 3, H, W); and their flow."""
    y, x = np.mgrid[: size[0], : size[1]].astype(float)
    # The previous frame shows at p + f what this one shows at p.
    frames = torch.stack([waves((x, y)), waves((x - step[0], y - step[1]))])
    flow = torch.tensor(step).view(1, 2, 1, 1).expand(1, 2, *size)
    return frames.byte()[None], flow.clone()


def plain(view):
    """Return a view without noise or colour changes."""
    same = np.concatenate([np.eye(3).ravel(), np.ones(3), [0.0]])
    return replace(view, noise=0.0, colours=np.stack([same] * 3))


@pytest.mark.parametrize("camera", [0.0, 2.0])
@pytest.mark.parametrize("zoom", [(1.0, 1.0), (1.5, 2.0)])
def test_flow_of_a_view_carries_its_last_frame_onto_this_one(camera, zoom):
    frames, flow = moving_pair()
    noise = noise_plane()
    rng = np.random.default_rng(0)
    for _ in range(12):
        view = plain(random_view(rng, (96, 128), SIZE, zoom=zoom, camera=camera))
        seen, found = look([view], frames, flow, noise, SIZE)
        assert seen.shape == (1, 2, 3, SIZE[0] // HALF, SIZE[1] // HALF)
        assert found.shape == (1, 2, SIZE[0] // HALF, SIZE[1] // HALF)
        known = found.isfinite().all(1, keepdim=True)
        steps = found.nan_to_num(0.0) / HALF
        ones = torch.ones_like(seen[:, 0, :1])
        carried = backward_warp(torch.cat([seen[:, 1], ones], 1), steps)
        sure = known & (carried[:, 3:] > 0)
        # Outside the pair, the view of its previous frame repeats the edge.
        off = (carried[:, :3] - seen[:, 0]).abs().mean(1, keepdim=True)[sure]
        still = (seen[:, 1] - seen[:, 0]).abs().mean(1, keepdim=True)[sure]
        assert sure.float().mean() > 0.5
        assert off.median() < 2.5
        assert off.median() < 0.5 * still.median()


def test_unknown_flow_and_flow_outside_the_pair_stay_unknown():
    frames, flow = moving_pair()
    flow[:, :, :, :40] = torch.nan
    view = plain(random_view(np.random.default_rng(0), (96, 128), SIZE, zoom=(1, 1), camera=0))
    view = replace(view, place=np.array([[1.0, 0, 0], [0, 1, 0]]), moved=np.eye(2, 3))
    _, found = look([view], frames, flow, noise_plane(), SIZE)
    known = found[0].isfinite().all(0)
    assert not known[:, : 40 // HALF].any()
    assert known[:, 40 // HALF :].all()
    outside = replace(view, place=np.array([[1.0, 0, 100], [0, 1, 0]]))
    _, found = look([outside], frames, flow, noise_plane(), SIZE)
    assert not found[0, :, :, 32 // HALF :].isfinite().any()


def test_bank_is_sorted_by_speed_and_reproducible(sources, tmp_path):
    banks = [open_bank(tmp_path / name, sources, TINY.flow, seed=3) for name in "ab"]
    for name in ("frames", "flow", "by_speed"):
        np.testing.assert_array_equal(getattr(banks[0], name), getattr(banks[1], name))
    assert banks[0].frames.shape == (6, 2, 3, 64, 80)
    speeds = [np.hypot(*pair.astype(float)).mean() for pair in banks[0].flow]
    assert sorted(speeds) == [speeds[number] for number in banks[0].by_speed]
    assert speeds[0] != speeds[1]


def test_incomplete_bank_is_redrawn_and_a_different_one_refused(sources, tmp_path):
    whole = np.array(open_bank(tmp_path, sources, TINY.flow).flow)
    (tmp_path / "bank.json").unlink()
    (tmp_path / "flow.npy").write_bytes(b"half")
    np.testing.assert_array_equal(open_bank(tmp_path, sources, TINY.flow).flow, whole)
    with pytest.raises(TrainingConfigError, match=r"another seed or config.*Give another --out"):
        open_bank(tmp_path, sources, TINY.flow, seed=1)
    with pytest.raises(TrainingConfigError, match="another seed or config"):
        open_bank(tmp_path, sources, replace(TINY.flow, drawn=4))


def test_easiest_views_show_the_slowest_pairs(sources, tmp_path):
    bank = open_bank(tmp_path, sources, TINY.flow)
    slowest = replace(bank, by_speed=bank.by_speed[:2])
    cpu = torch.device("cpu")
    easy = replace(TINY.flow, easiest=replace(TINY.flow.easiest, points=((0.0, 2 / 6),)))
    settings = {"planned": 20, "seen": 0, "seed": 0, "device": cpu}
    for one, other in zip(
        view_batches(bank, easy, **settings),
        view_batches(slowest, TINY.flow, **settings),
        strict=True,
    ):
        assert torch.equal(one.frames, other.frames)
        assert torch.equal(one.flow.nan_to_num(9), other.flow.nan_to_num(9))


def test_views_drawn_one_by_one_equal_those_drawn_together(sources, tmp_path):
    bank = open_bank(tmp_path, sources, TINY.flow)
    rng = np.random.default_rng(0)
    views = [random_view(rng, (64, 80), (64, 64), zoom=(1, 2), camera=1) for _ in range(3)]
    frames, flow = bank.take(np.array([0, 1, 2]), torch.device("cpu"))
    together = look(views, frames, flow, noise_plane(), (64, 64))
    for k, view in enumerate(views):
        alone = look([view], frames[k : k + 1], flow[k : k + 1], noise_plane(), (64, 64))
        for whole, part in zip(together, alone, strict=True):
            torch.testing.assert_close(whole[k : k + 1], part, equal_nan=True, atol=1e-3, rtol=0)


def test_loss_ignores_unknown_flow_and_tolerates_fast_motion():
    flow = torch.zeros(1, 2, 64, 64)
    flow[:, 0, :, 32:] = torch.nan
    levels = tuple(torch.zeros(1, 2, 32 // s, 32 // s) for s in (4, 8, 16, 32))
    right = flow_loss(levels, flow)
    levels[0][..., 4:] = 50.0  # wrong, but the truth is unknown there
    assert flow_loss(levels, flow) == right < 0.02
    levels[0][..., 0, :4] = 3.0
    slow = flow_loss(levels, flow)
    fast = flow_loss(tuple(level + 20 for level in levels), flow + 20)
    assert right < fast < 0.3 * slow


def test_forward_and_backward_flow_must_agree():
    there, back = torch.full((2, 8, 12), 2.0), torch.full((2, 8, 12), -2.0)
    back[:, 4, 6] = 5.0
    found = believed(there, back)
    assert found[:, 2, 4].isnan().all()  # points at the one that disagrees
    assert torch.equal(found[:, 1, 1], there[:, 1, 1])
    assert found[:, 7].isnan().all()  # leaves the frame
    assert found[:, :, 11].isnan().all()


def test_teacher_finds_the_motion_of_real_pixels(sources):
    pytest.importorskip("cv2", reason="the teacher needs OpenCV")
    frames, flow = moving_pair((4.0, -3.0), size=(120, 160))
    found = dis_teacher()(frames[0, 0], frames[0, 1])
    known = found.isfinite().all(0)
    assert known.float().mean() > 0.7
    assert (found - flow[0])[:, known].abs().median() < 0.2


def textured_clip(speed=3):
    """Return sources with one clip, whose whole texture moves right by `speed` px per frame."""
    rng = np.random.default_rng(0)
    specks = torch.from_numpy(rng.uniform(0, 255, (1, 3, 40, 70))).float()
    wide = F.interpolate(specks, scale_factor=3, mode="bicubic")[0].clamp(0, 255).byte()
    labels = torch.zeros(96, 128, dtype=torch.uint8)
    labels[40:60, 40:70] = 1
    pictures = [Picture.of(wide[:, :96, 60 - t * speed :][:, :, :128], labels) for t in range(8)]
    return Sources([Found(videos={"specks": Video(tuple(pictures))})])


def test_real_pairs_are_windows_of_training_clips_with_the_teachers_flow(tmp_path):
    pytest.importorskip("cv2", reason="the teacher needs OpenCV")
    bank = open_bank(tmp_path, textured_clip(), replace(TINY.flow, real=8))
    assert len(bank.flow) == len(bank.by_speed) == 14
    real = bank.flow[6:].astype(float)
    known = np.isfinite(real).all(1)
    assert known.mean((1, 2)).min() >= 0.5
    # One or two frames apart, forwards or backwards in time.
    across = [round(float(np.median(flow[0][at]))) for flow, at in zip(real, known, strict=True)]
    assert set(map(abs, across)) == {3, 6}
    assert min(across) < 0 < max(across)
    assert abs(np.median(real[:, 1][known])) < 0.2
    for frames, step, at in zip(bank.frames[6:].astype(int), across, known, strict=True):
        moved = np.roll(frames[1], -step, axis=2)
        inside = at & (np.arange(80) >= 8) & (np.arange(80) < 72)
        assert np.abs(moved - frames[0]).mean(0)[inside].mean() < 3


def test_clips_the_teacher_cannot_follow_are_an_error(sources, tmp_path, monkeypatch):
    pytest.importorskip("cv2", reason="the teacher needs OpenCV")
    monkeypatch.setattr(pair_bank, "TRIES", 4)  # enough: these pictures have no texture
    with pytest.raises(TrainingConfigError, match=r"has a reliable flow.*or --real 0"):
        open_bank(tmp_path, sources, replace(TINY.flow, real=4))


def test_flow_starts_from_weights_of_the_same_widths(sources, tmp_path):
    first = train_flow(sources, TINY, tmp_path / "first", workers=0, clips=2)
    settings = {"workers": 0, "clips": 2, "origin": str(tmp_path / "first"), "stop_after": 0}
    train_flow(sources, TINY, tmp_path / "next", **settings)
    begun = json.loads((tmp_path / "next" / "log.jsonl").read_text().splitlines()[0])
    ended = json.loads((tmp_path / "first" / "log.jsonl").read_text().splitlines()[-1])
    assert (begun["seen"], begun["carried"]) == (0, ended["carried"])
    assert first.conv1.weight.isfinite().all()
    with pytest.raises(TrainingConfigError, match=r"other widths \(the first 16, not 4\)"):
        train_flow(sources, TINY, tmp_path / "other", origin="rmnet-small", workers=0)


def test_real_pairs_without_opencv_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(TrainingConfigError, match=r"rmnet.benchmarks.*or --real 0"):
        dis_teacher()
