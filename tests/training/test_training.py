"""The training commands of `training/`, on a data folder of a few synthetic images."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from rmnet.network.rmnet import RMNet
from rmnet.weights.load import load_network, save_network
from training import batches, objective, parallel
from training.arguments import chosen_device
from training.draw_curves import draw, read_curves
from training.export import join
from training.phases import MarginRanges
from training.runs import read_checkpoint
from training.sources import Sources
from training.strict_json import TrainingConfigError
from training.train import train
from training.train_flow import train_flow
from training_tools import CLIPS, PHASE, TINY, assert_same_state, write_folder

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def sources(data):
    return Sources.read([data])


def command(run, sources, out, **settings):
    """Train in this process."""
    settings = {"workers": 0, **settings}
    if run == "flow":
        return train_flow(sources, TINY, out, **settings)
    return train(sources, TINY, settings.pop("phase", PHASE), out, **settings)


@pytest.mark.parametrize("run", ["segmentation", "flow"])
def test_resumed_run_equals_uninterrupted_one(sources, tmp_path, run):
    whole = command(run, sources, tmp_path / "whole")
    command(run, sources, tmp_path / "parts", stop_after=4)
    resumed = command(run, sources, tmp_path / "parts", workers=1)
    assert_same_state(whole.state_dict(), resumed.state_dict())
    states = [read_checkpoint(tmp_path / part) for part in ("whole", "parts")]
    assert states[0]["seen"] == states[1]["seen"] == 8
    assert_same_state(states[0]["module"], states[1]["module"])


@pytest.mark.parametrize("loss", ["hardest", "lovasz"])
def test_frozen_phase_trains_weights_and_keeps_statistics(sources, tmp_path, loss):
    command("segmentation", sources, tmp_path / "first")
    phase = replace(
        PHASE, name="large", start="average", freeze_batchnorm=True, loss=loss,
        through_estimates=loss == "lovasz",
    )  # fmt: skip
    command("segmentation", sources, tmp_path / "next", phase=phase, origin=str(tmp_path / "first"))
    before = read_checkpoint(tmp_path / "first")["average"]
    after = read_checkpoint(tmp_path / "next")["module"]
    same = {name: torch.equal(value, after[name]) for name, value in before.items()}
    assert all(same[name] for name in same if "running_" in name)
    assert not same["query_encoder.stem.weight"]
    assert not same["query_encoder.stem_norm.weight"]


def test_phase_that_continues_keeps_the_optimiser_state(sources, tmp_path):
    command("segmentation", sources, tmp_path / "first")
    phase = replace(PHASE, name="clips", start="continue", span=(0.5, 1.0))
    folder = tmp_path / "next"
    command("segmentation", sources, folder, phase=phase, origin=str(tmp_path / "first"))
    before, after = (read_checkpoint(tmp_path / name) for name in ("first", "next"))
    steps = [next(iter(state["optimiser"]["state"].values()))["step"] for state in (before, after)]
    assert steps == [4, 8]
    assert after["average_steps"] == 8
    assert after["seen"] == 8


def test_phase_starts_from_weights_of_the_same_network(sources, tmp_path):
    phase = replace(PHASE, start="average")
    wide = RMNet(replace(TINY.network, key_width=8))
    save_network(wide, tmp_path / "wide")
    save_network(RMNet(replace(TINY.network, size=320)), tmp_path / "same")
    with pytest.raises(TrainingConfigError, match="key_width 8, not 4"):
        command("segmentation", sources, tmp_path / "a", phase=phase, origin=str(tmp_path / "wide"))
    out = tmp_path / "b"
    command("segmentation", sources, out, phase=phase, origin=str(tmp_path / "same"))
    # The weights came with a flow, so the run's own export can be used as it is.
    flow, began = (load_network(folder).flow.conv1.weight for folder in (out, tmp_path / "same"))
    assert torch.equal(flow, began.half().float())
    assert join(out, None).config.size == TINY.network.size
    checks = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [line["seen"] for line in checks] == [0, 8]  # before the first step, too


@pytest.mark.parametrize(
    ("start", "origin", "told"),
    [
        ("random", "rmnet-small", "leave --from out"),
        ("average", None, "give --from"),
        ("continue", "rmnet-small", "holds no checkpoint.pt"),
    ],
)
def test_wrong_start_says_what_to_give(sources, tmp_path, start, origin, told):
    with pytest.raises(TrainingConfigError, match=told):
        command("segmentation", sources, tmp_path, phase=replace(PHASE, start=start), origin=origin)


def test_folder_of_another_phase_is_refused(sources, tmp_path):
    command("segmentation", sources, tmp_path, stop_after=2)
    with pytest.raises(TrainingConfigError, match=r"another phase \(tiny\)"):
        command("segmentation", sources, tmp_path, phase=replace(PHASE, name="other"))


def test_both_runs_join_into_one_network(sources, tmp_path):
    network = command("segmentation", sources, tmp_path / "small", clips=2)
    flow = command("flow", sources, tmp_path / "flow", clips=2)
    with pytest.raises(TrainingConfigError, match="never trained"):
        join(tmp_path / "small", None)
    joined = join(tmp_path / "small", str(tmp_path / "flow"), size=96)
    assert joined.config.size == 96
    assert_same_state(joined.flow.state_dict(), flow.state_dict())
    assert_same_state(joined.decoder.state_dict(), network.decoder.state_dict())


def test_log_and_curves_hold_the_loss_and_the_held_out_j(sources, tmp_path):
    network = command("segmentation", sources, tmp_path, clips=240, check_every=100)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    trained = [line for line in lines if line["kind"] == "train"]
    checks = [line for line in lines if line["kind"] == "check"]
    assert [line["seen"] for line in trained] == [100, 200]
    assert [line["seen"] for line in checks] == [100, 200, 240]
    assert 0 <= checks[-1]["held_out"] <= 1
    assert set(trained[0]) == {"kind", "seen", "loss", "jaccard", "rate", "seconds"}
    curves = read_curves([tmp_path, tmp_path])
    assert [seen for seen, _ in curves["loss"]] == [100, 200, 340, 440]
    assert json.loads((tmp_path / "curves.json").read_text()).keys() == curves.keys()
    assert isinstance(network, RMNet)


def test_curves_are_drawn_as_a_picture(tmp_path):
    pytest.importorskip("matplotlib")
    lines = [
        {"kind": kind, "seen": seen, "loss": 1 / seen, "held_out": 0.5}
        for seen in (10, 20)
        for kind in ("train", "check")
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    draw([tmp_path])
    assert (tmp_path / "curves.png").stat().st_size > 1000


def test_batch_is_divided_among_processes(sources):
    schedule = batches.Schedule("tiny", CLIPS, planned=4)
    shares = []
    for number in range(2):
        part = parallel.Part(number, 2)
        order = next(batches.orders(schedule, part=part))
        shares.append(batches.Batches(sources, schedule, part=part)[order])
    assert [share.recipe.batch for share in shares] == [1, 1]
    assert [share.after for share in shares] == [2, 2]
    assert not torch.equal(shares[0].clips.frames, shares[1].clips.frames)


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_come_in_order_with_any_number_of_workers(sources, workers):
    schedule = batches.Schedule("tiny", CLIPS, planned=14)
    settings = {"seen": 0, "part": parallel.WHOLE, "device": CPU}
    here = list(batches.load(sources, schedule, workers=0, **settings))
    there = list(batches.load(sources, schedule, workers=workers, **settings))
    assert [batch.before for batch in there] == [batch.before for batch in here]
    for one, other in zip(here, there, strict=True):
        assert torch.equal(one.clips.frames, other.clips.frames)


def test_planned_batches_equal_those_drawn_by_workers(sources):
    """A GPU draws from plans the batches that workers draw for a CPU."""
    schedule = batches.Schedule("tiny", CLIPS, planned=2)
    (order,) = batches.orders(schedule)
    drawn = batches.Batches(sources, schedule)[order]
    planned = batches.Batches(sources, schedule, planned_only=True)[order]
    clips = batches.render(planned.plans, sources.pictures, with_flow=False)
    assert (clips.frames.int() - drawn.clips.frames.int()).abs().max() <= 1


def test_margins_are_within_their_ranges():
    ranges = MarginRanges(query=(24, 96), memory=(16, 80), whole_frame=0.3)
    margins = objective.random_margins(ranges, np.random.default_rng(0), 4000, CPU)
    whole = margins.query == objective.WHOLE_FRAME
    assert torch.equal(whole, margins.memory == objective.WHOLE_FRAME)
    assert whole.float().mean() == pytest.approx(0.3, abs=0.03)
    assert margins.query[~whole].aminmax() == (24, 96)
    assert margins.memory[~whole].aminmax() == (16, 80)


@pytest.mark.parametrize("through", [False, True])
def test_gradients_flow_through_estimates_on_request(sources, through):
    torch.manual_seed(0)
    network = RMNet(TINY.network).train()
    rng = np.random.default_rng(0)
    clips = batches.make_batch(sources, CLIPS.ingredients[0].draw(0.5, rng), rng)
    margins = objective.random_margins(MarginRanges(), np.random.default_rng(0), 2, CPU)
    logits = objective.unroll(
        network, clips, margins, bfloat16=False, through_estimates=through
    )  # fmt: skip
    # Frame 2 depends on frame 1's decoder pass only through the remembered estimate.
    (grad,) = torch.autograd.grad(logits[1].sum(), logits[0], allow_unused=True)[:1]
    assert (grad is not None) is through


def test_missing_gpu_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(TrainingConfigError, match="accepted: cpu"):
        chosen_device("cuda")


@pytest.mark.cuda
def test_a_gpu_trains_with_the_same_command(sources, tmp_path):
    network = command("segmentation", sources, tmp_path / "small", device="cuda", workers=2)
    command("flow", sources, tmp_path / "flow", device="cuda", workers=2)
    assert all(value.isfinite().all() for value in network.state_dict().values())
