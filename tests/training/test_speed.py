"""The speed-ups of training leave its numbers unchanged."""

from __future__ import annotations

import pickle
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
import torch
from torch import nn

from rmnet.network.blocks import InvertedResidual
from rmnet.network.rmnet import RMNet
from rmnet.ops import regional_read_pytorch
from training import batches, objective
from training.dense_read import dense_read
from training.folding import folded
from training.objective import set_training, trunk_parameters
from training.phases import MarginRanges
from training.render import make_batch
from training.runs import Run
from training.sources import Sources
from training_tools import CLIPS, SMALL, TINY, write_folder

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return Sources.read([write_folder(tmp_path_factory.mktemp("data"))])


def with_statistics(module):
    """Give a module's BatchNorms statistics and weights, as training would; return it."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, std=0.2)
            nn.init.uniform_(layer.running_var, 0.5, 2)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.2)
    return module.eval()


def values_and_gradients(module, x):
    x = x.clone().requires_grad_()
    module.zero_grad()
    y = module(x)
    y.square().sum().backward()
    return [y.detach(), x.grad, *(p.grad.clone() for p in module.parameters())]


@pytest.mark.parametrize(("expansion", "stride"), [(1, 1), (6, 1), (6, 2)])
def test_folded_block_has_the_same_values_and_gradients(expansion, stride):
    block = with_statistics(InvertedResidual(8, 8, kernel=5, stride=stride, expansion=expansion))
    x = torch.randn(2, 8, 10, 12)
    wanted = values_and_gradients(block, x)
    with folded(block, torch.float32):
        assert "main_path" in vars(block)
        found = values_and_gradients(block, x)
    assert "main_path" not in vars(block)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_folding_is_undone_after_an_error():
    block = InvertedResidual(8, 8, kernel=3, stride=1, expansion=6).eval()
    with pytest.raises(ZeroDivisionError), folded(block, torch.float32):
        raise ZeroDivisionError
    assert "main_path" not in vars(block)


def test_folded_network_segments_a_clip_as_before(sources):
    network = with_statistics(RMNet(SMALL.network))
    set_training(network, freeze_batchnorm=True)
    rng = np.random.default_rng(0)
    clips = make_batch(sources, CLIPS.ingredients[0].draw(0.5, rng), rng)
    margins = objective.random_margins(MarginRanges(), rng, 2, CPU)
    logits = []
    for wanted in (False, True):
        with torch.no_grad(), folded(network, torch.float32, wanted=wanted):
            logits.append(objective.unroll(network, clips, margins, bfloat16=False))
    for one, other in zip(*logits, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("semantics", ["excluded", "zeroed"])
def test_dense_read_has_the_values_and_gradients_of_the_regional_one(semantics):
    shapes = ((3, 6, 7, 4), (3, 2, 6, 7, 4), (3, 2, 6, 7, 5))
    tensors = [torch.randn(shape, requires_grad=True) for shape in shapes]
    # The second object has an empty search box, the third only empty memory boxes.
    query_boxes = torch.tensor([[1, 2, 6, 5], [0, 0, 0, 0], [0, 0, 7, 6]], dtype=torch.int32)
    memory_boxes = torch.tensor(
        [[[0, 0, 3, 3], [2, 1, 7, 6]], [[0, 0, 7, 6], [0, 0, 0, 0]], [[0, 0, 0, 0]] * 2],
        dtype=torch.int32,
    )
    results = []
    for read, more in ((regional_read_pytorch, {"present": None}), (dense_read, {})):
        out = read(*tensors, query_boxes, memory_boxes, semantics=semantics, scale=0.5, **more)
        gradients = torch.autograd.grad(out.sin().sum(), tensors)
        results.append([out.detach(), *gradients])
    for wanted, found in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_training_with_the_dense_read_gives_the_same_logits(sources, monkeypatch):
    network = RMNet(TINY.network).eval()
    rng = np.random.default_rng(0)
    clips = make_batch(sources, CLIPS.ingredients[1].draw(0.5, rng), rng)
    margins = objective.random_margins(MarginRanges(), rng, 4, CPU)
    wanted = objective.unroll(network, clips, margins, bfloat16=False)
    monkeypatch.setattr(objective, "regional_read", dense_read)
    found = objective.unroll(network, clips, margins, bfloat16=False)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)


@pytest.mark.cuda
def test_dense_read_never_waits_for_the_device():
    shapes = ((1, 4, 4, 8), (1, 2, 4, 4, 8), (1, 2, 4, 4, 8))
    q, k, v = (torch.randn(shape, device="cuda") for shape in shapes)
    boxes = torch.tensor([[0, 0, 3, 3]], device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        dense_read(q, k, v, boxes, boxes[:, None].expand(-1, 2, -1), semantics="excluded", scale=1)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_trunk_learns_at_its_own_rate(tmp_path):
    network = RMNet(TINY.network)
    trunk = trunk_parameters(network)
    run = Run(network, TINY.optimiser, tmp_path, {}, slow=trunk, slow_rate=0.25)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    run.update(sum(p.sum() for p in network.parameters()), 1e-3)
    run.close()
    groups = {(g["factor"], g["weight_decay"]): g for g in run.optimiser.param_groups}
    assert {(factor, decay > 0) for factor, decay in groups} == {
        (factor, decays) for factor in (1.0, 0.25) for decays in (False, True)
    }
    assert {g["lr"] for g in groups.values()} == {1e-3, 2.5e-4}
    after = network.state_dict()
    moved = {name: float((after[name] - before[name]).abs().max()) for name in before}
    # AdamW's first step is as large as the rate, whatever the gradient.
    assert moved["query_encoder.stem.weight"] == pytest.approx(2.5e-4, rel=0.05)
    assert moved["memory_encoder.stem_norm.bias"] == pytest.approx(2.5e-4, rel=0.05)
    assert moved["memory_encoder.mask_stem.weight"] == pytest.approx(1e-3, rel=0.05)
    assert moved["decoder.predict.bias"] == pytest.approx(1e-3, rel=0.05)


def test_batches_are_sent_by_value_not_by_shared_memory(sources):
    schedule = batches.Schedule("tiny", CLIPS, planned=2)
    (order,) = batches.orders(schedule)
    for planned_only in (False, True):
        batch = batches.Batches(sources, schedule, planned_only=planned_only)[order]
        sent = bytes(ForkingPickler.dumps(batch))
        assert sent == bytes(ForkingPickler.dumps(batch))  # no file descriptor or file name
        again = pickle.loads(sent)
        assert type(again) is type(batch)
        if not planned_only:
            assert torch.equal(again.clips.frames, batch.clips.frames)
            assert torch.equal(again.clips.masks, batch.clips.masks)


@pytest.mark.slow
def test_workers_that_share_nothing_plan_the_same_batches(sources):
    """Workers that plan for a GPU are not forks of the process that uses it."""
    schedule = batches.Schedule("tiny", CLIPS, planned=8)
    planner = batches.Batches(sources, schedule, planned_only=True)
    here = [planner[order] for order in batches.orders(schedule)]
    loader = batches.make_loader(planner, batches.orders(schedule), 2, from_scratch=True)
    there = list(loader)
    assert [batch.before for batch in there] == [batch.before for batch in here]
    for one, other in zip(here, there, strict=True):
        assert one.plans.targets == other.plans.targets
        assert torch.equal(one.plans.cutouts.tracks, other.plans.cutouts.tracks)
        assert one.plans.cutouts.crops == other.plans.cutouts.crops
