"""The paper's ablations as settings: each changes what it names, and nothing else."""

import dataclasses
import inspect

import numpy as np
import pytest
import torch

import reference
import tiny
from rmnet import MemoryPolicy, RMNetConfig
from rmnet.ablations import best_match, best_match_read
from rmnet.config import NetworkUse
from rmnet.errors import ConfigError
from rmnet.geometry.regions import mask_boxes, pixel_to_cell_boxes
from rmnet.ops import regional_read
from rmnet.runtime import executor

WHOLE = [0, 0, 6, 4]  # the whole frame of tiny.clip(), in cells

USE_FIELDS = {field.name for field in dataclasses.fields(NetworkUse)}


@pytest.fixture
def segmenter():
    return tiny.segmenter()


@pytest.fixture
def clip():
    return tiny.clip(num_frames=4)


@pytest.fixture
def reads(monkeypatch):
    """The name, arguments and result of every read of a session."""
    seen = []

    def watch(name):
        function = getattr(executor, name)

        def watched(*args, **options):
            result = function(*args, **options)
            bound = inspect.signature(function).bind(*args, **options)
            bound.apply_defaults()
            given = {k: v.clone() if torch.is_tensor(v) else v for k, v in bound.arguments.items()}
            seen.append((name, given, result.clone()))
            return result

        monkeypatch.setattr(executor, name, watched)

    watch("regional_read")
    watch("best_match_read")
    return seen


def results(segmenter, clip, **options):
    frames, labels = clip
    options = {"keep_probabilities": True, "memory": MemoryPolicy(every=1)} | options
    return list(segmenter.stream(frames, labels, **options))


def boxes_of(reads, which):
    return [given[which].tolist() for _, given, _ in reads]


def flow_calls(segmenter):
    calls = []
    segmenter._inference.flow.register_forward_hook(lambda *_: calls.append(1))
    return calls


def assert_same(a, b):
    for x, y in zip(a, b, strict=True):
        assert np.array_equal(x.labels, y.labels)
        assert torch.equal(x.probabilities, y.probabilities)
        assert np.array_equal(x.regions, y.regions)


def assert_as_the_loops(reads):
    for name, given, got in reads:
        numbers = {k: v.numpy() if torch.is_tensor(v) else v for k, v in given.items()}
        extra = {"sigma": best_match.KERNEL_SIGMA} if name == "best_match_read" else {}
        want = getattr(reference, name)(**numbers, **extra)
        assert np.abs(got.numpy() - want).max() <= 1e-5


def test_unchanged_settings_give_the_same_bits(segmenter, clip):
    fields = {name: getattr(tiny.CONFIG, name) for name in USE_FIELDS}
    assert fields["memory_region"] == "mask"
    assert fields["search_region"] == "warped"
    assert_same(results(segmenter, clip), results(segmenter.with_config(**fields), clip))


def test_switching_off_the_memory_region_gives_the_whole_frame(segmenter, clip, reads):
    # Search boxes depend on the masks found so far, so they are compared in the first step.
    first = (clip[0][:2], clip[1])
    results(segmenter, first)
    (_, regional, _), *_ = reads
    reads.clear()
    results(segmenter.with_config(memory_region="frame"), clip)
    assert torch.equal(reads[0][1]["query_boxes"], regional["query_boxes"])
    assert regional["memory_boxes"].tolist() != [[WHOLE]] * 2
    assert boxes_of(reads, "memory_boxes") == [[[WHOLE] * t] * 2 for t in (1, 2, 3)]
    assert {name for name, *_ in reads} == {"regional_read"}
    assert_as_the_loops(reads)


def test_with_a_threshold_the_memory_sees_masks_instead_of_probabilities(segmenter, clip):
    remembered = {}
    for threshold in (None, 0.3):
        chosen = segmenter.with_config(memory_threshold=threshold)
        masks = remembered[threshold] = []
        encoder = chosen._inference.memory_encoder
        hook = encoder.register_forward_hook(lambda _, given, __, masks=masks: masks.append(given))
        results(chosen, (clip[0][:3], clip[1]))
        hook.remove()
    # Two objects in two steps; the first step remembers only the given masks.
    assert len(remembered[None]) == len(remembered[0.3]) == 4
    for number, ((_, soft, _), (_, cut, _)) in enumerate(
        zip(remembered[None], remembered[0.3], strict=True)
    ):
        assert torch.equal(cut, (soft >= 0.3).float())
        assert torch.equal(cut, soft) == (number < 2)


def test_switching_off_the_query_region_gives_the_whole_frame(segmenter, clip, reads):
    first = (clip[0][:2], clip[1])
    results(segmenter, first)
    (_, regional, _), *_ = reads
    reads.clear()
    calls = flow_calls(segmenter)
    everywhere = results(segmenter.with_config(search_region="frame"), clip)
    assert torch.equal(reads[0][1]["memory_boxes"], regional["memory_boxes"])
    assert regional["query_boxes"].tolist() != [WHOLE] * 2
    assert boxes_of(reads, "query_boxes") == [[WHOLE] * 2] * 3
    assert everywhere[1].regions.tolist() == [[0, 0, 96, 64]] * 2
    assert calls == []
    assert_as_the_loops(reads)


def test_switching_off_both_regions_gives_a_dense_read(segmenter, clip, reads):
    results(segmenter.with_config(memory_region="frame", search_region="frame"), clip)
    for _, given, got in reads:
        key, value = (given[k].double().flatten(1, 3) for k in ("memory_key", "memory_value"))
        query = given["query_key"].double().flatten(1, 2) * given["scale"]
        dense = torch.softmax(query @ key.mT, dim=2) @ value
        assert torch.allclose(got.double().flatten(1, 2), dense, rtol=0, atol=1e-5)


def test_the_previous_region_is_the_previous_masks_box(segmenter, clip, reads):
    calls = flow_calls(segmenter)
    found = results(segmenter.with_config(search_region="previous"), clip)
    assert calls == []
    for previous, (_, given, _) in zip(found, reads, strict=False):
        boxes = mask_boxes(
            previous.probabilities[1:], threshold=0.5, min_pixels=10, margin=16, lost="frame"
        )
        assert torch.equal(given["query_boxes"], pixel_to_cell_boxes(boxes))
    assert_same(found, results(segmenter, clip, flow="none"))
    assert_as_the_loops(reads)


def test_the_flow_moves_the_warped_region_and_only_widens_the_union(segmenter, clip):
    def right(current, previous):
        field = np.zeros((2, *current.shape[:2]), np.float32)
        field[0] = -20
        return field

    first = (clip[0][:2], clip[1])
    region = {
        name: results(segmenter.with_config(search_region=name), first, flow=flow)[1].region(3)
        for name, flow in (("previous", None), ("warped", right), ("union", right))
    }
    assert region == {
        "previous": (0, 0, 48, 48),
        "warped": (16, 0, 68, 48),
        "union": (0, 0, 68, 48),
    }


def test_the_best_match_is_searched_for_in_the_whole_frame(segmenter, clip, reads):
    calls = flow_calls(segmenter)
    results(segmenter.with_config(search_region="best_match"), clip)
    assert calls == []
    assert [name for name, *_ in reads] == ["best_match_read"] * 3
    assert boxes_of(reads, "query_boxes") == [[WHOLE] * 2] * 3
    assert boxes_of(reads, "memory_boxes") != [[[WHOLE] * t] * 2 for t in (1, 2, 3)]
    assert_as_the_loops(reads)


def read_input(*, dtype=torch.float32, seed=0):
    """Return three objects in two frames of 4 x 5 cells, one never seen and one absent at first."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, generator=generator).to(dtype)

    memory_boxes = [[[0, 0, 3, 2], [1, 1, 5, 4]], [[0, 0, 0, 0]] * 2, [[2, 0, 5, 4]] * 2]
    return {
        "query_key": 2 * normal(3, 4, 5, 8),
        "memory_key": normal(3, 2, 4, 5, 8),
        "memory_value": normal(3, 2, 4, 5, 6),
        "query_boxes": torch.tensor([[1, 0, 5, 4], [0, 0, 5, 4], [0, 1, 4, 3]], dtype=torch.int32),
        "memory_boxes": torch.tensor(memory_boxes, dtype=torch.int32),
        "present": torch.tensor([[True, True], [True, True], [False, True]]),
    }


@pytest.mark.parametrize("semantics", ["zeroed", "excluded"])
@pytest.mark.parametrize("scores_at_a_time", [1, 1 << 21])
def test_the_best_match_read_equals_a_loop(semantics, scores_at_a_time, monkeypatch):
    monkeypatch.setattr(best_match, "SCORES_AT_A_TIME", scores_at_a_time)
    monkeypatch.setattr(best_match, "KERNEL_SIGMA", 1.5)  # so small that 4 x 5 cells differ
    given = read_input()
    got = best_match_read(**given, semantics=semantics, scale=0.5)
    numbers = {name: tensor.numpy() for name, tensor in given.items()}
    want = reference.best_match_read(**numbers, semantics=semantics, scale=0.5, sigma=1.5)
    assert got.dtype == torch.float32
    assert np.abs(got.numpy() - want).max() <= 1e-5


@pytest.mark.parametrize("semantics", ["zeroed", "excluded"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_endless_kernel_gives_the_regional_read(semantics, dtype, monkeypatch):
    monkeypatch.setattr(best_match, "KERNEL_SIGMA", 1e6)
    given = read_input(dtype=dtype)
    got = best_match_read(**given, semantics=semantics, scale=0.5)
    want = regional_read(**given, semantics=semantics, scale=0.5)
    assert got.dtype == dtype
    assert torch.allclose(got.float(), want.float(), atol=1e-5 if dtype == torch.float32 else 2e-2)


def test_objects_without_a_best_match_read_nothing():
    given = read_input() | {"memory_boxes": torch.zeros((3, 2, 4), dtype=torch.int32)}
    assert not best_match_read(**given, semantics="excluded", scale=1.0).any()


@pytest.mark.parametrize("semantics", ["zeroed", "excluded"])
def test_the_semantics_of_the_read_can_be_chosen(segmenter, clip, reads, semantics):
    results(segmenter.with_config(read=semantics), clip)
    assert {given["semantics"] for _, given, _ in reads} == {semantics}
    assert_as_the_loops(reads)
    # The difference: a cell outside its region takes a share of the softmax, or none.
    _, given, got = reads[-1]
    other = {"zeroed": "excluded", "excluded": "zeroed"}[semantics]
    assert not torch.allclose(got, regional_read(**given | {"semantics": other}), atol=1e-3)


@pytest.mark.parametrize(
    ("policy", "frames"),
    [
        (MemoryPolicy(every=1), (0, 1, 2, 3, 4)),
        (MemoryPolicy(every=2), (0, 2, 4)),
        (MemoryPolicy(every=3), (0, 3, 4)),
        (MemoryPolicy(every=1, max_frames=3), (0, 3, 4)),
        (MemoryPolicy(every=1, max_frames=None), (0, 1, 2, 3, 4)),
    ],
)
def test_interval_and_bound_decide_what_is_remembered(segmenter, policy, frames):
    clip, labels = tiny.clip(num_frames=6)
    session = segmenter.start(memory=policy)
    for t, frame in enumerate(clip):
        session.step(frame, labels if t == 0 else None)
    assert session.memory_stats().frames == frames


def test_the_margin_widens_both_regions(segmenter, clip, reads):
    first = (clip[0][:2], clip[1])
    masks = torch.stack([torch.from_numpy(clip[1] == i) for i in (3, 7)]).float()
    for margin in (0, 16, 32):
        reads.clear()
        chosen = segmenter.with_config(box_margin=margin, search_region="previous")
        found = results(chosen, first)[1]
        want = mask_boxes(masks, threshold=0.5, min_pixels=10, margin=margin, lost="frame")
        assert found.regions.tolist() == want.tolist()
        assert boxes_of(reads, "query_boxes") == [pixel_to_cell_boxes(want).tolist()]
        assert boxes_of(reads, "memory_boxes") == [pixel_to_cell_boxes(want)[:, None].tolist()]


def test_an_object_below_the_minimum_is_searched_for_everywhere(segmenter, clip):
    frames, labels = clip
    area = np.count_nonzero(labels == 3)
    for pixels, whole in ((area, False), (area + 1, True)):
        chosen = segmenter.with_config(min_object_pixels=pixels, search_region="previous")
        found = results(chosen, (frames[:2], labels))[1]
        assert (found.region(3) == (0, 0, 96, 64)) is whole
        assert found.region(7) != (0, 0, 96, 64)


def test_changing_the_use_shares_the_weights_and_leaves_the_segmenter_alone(segmenter, clip):
    before = results(segmenter, clip)
    other = segmenter.with_config(search_region="frame", box_margin=0)
    assert (other.config.search_region, other.config.box_margin) == ("frame", 0)
    assert segmenter.config == tiny.CONFIG
    for name in ("_network", "_inference"):
        networks = (getattr(one, name) for one in (other, segmenter))
        ours, theirs = (list(one.modules())[1:] for one in networks)
        assert ours
        assert all(a is b for a, b in zip(ours, theirs, strict=True))
    results(other, clip)
    assert_same(results(segmenter, clip), before)


def test_a_changed_use_is_saved(segmenter, tmp_path):
    other = segmenter.with_config(memory_region="frame", search_region="best_match")
    loaded = type(segmenter).from_pretrained(other.save_pretrained(tmp_path), device="cpu")
    assert loaded.config == other.config


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"search_region": "flow"}, "'warped', 'union', 'previous', 'best_match', 'frame'"),
        ({"memory_region": False}, "memory_region is False; accepted: 'mask', 'frame'"),
        ({"box_margin": -1}, "box_margin is -1"),
        ({"min_object_pixels": 0}, "min_object_pixels is 0"),
        ({"read": "none"}, "read is 'none'"),
        ({"key_width": 4}, "with_config got key_width; accepted: read, scaled_scores"),
        ({"phi": 4, "eta": 10}, "with_config got eta, phi; accepted"),
    ],
)
def test_invalid_settings_are_named(segmenter, fields, message):
    with pytest.raises(ConfigError, match=message):
        segmenter.with_config(**fields)


@pytest.mark.parametrize("region", ["previous", "best_match", "frame"])
def test_an_unused_flow_function_is_refused(segmenter, region):
    chosen = segmenter.with_config(search_region=region)
    with pytest.raises(ConfigError, match=f"flow is a function, but search_region '{region}'"):
        chosen.start(flow=lambda *_: None)
    chosen.start(flow="none")


def test_every_field_belongs_to_the_use_or_to_the_weights():
    shapes = {field.name for field in dataclasses.fields(RMNetConfig)} - USE_FIELDS
    assert shapes == {
        "backbone", "stem_width", "stage_widths", "stage_depths", "key_width", "value_width",
        "decoder_widths", "flow_widths", "tied_encoders", "others_input",
    }  # fmt: skip
