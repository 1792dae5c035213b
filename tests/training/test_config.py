"""Training configs: which are accepted, and what the errors for the others say."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

from training.phases import Rate, config_from_json, read_config
from training.recipes import Curve, Recipe
from training.strict_json import TrainingConfigError
from training_tools import SMALL, TRAINING

FIELDS = json.loads((TRAINING / "configs" / "rmnet-small.json").read_text())


def changed(**changes):
    return {**copy.deepcopy(FIELDS), **changes}


@pytest.mark.parametrize(
    "path", sorted((TRAINING / "configs").glob("*.json")), ids=lambda p: p.stem
)
def test_shipped_configs_draw_recipes_at_every_progress(path):
    config = read_config(path)
    rng = np.random.default_rng(0)
    for mixture in [config.flow.recipes, *(phase.recipes for phase in config.phases)]:
        for progress in np.linspace(0, 1, 21):
            assert isinstance(mixture.draw(progress, rng), Recipe)
    assert all(phase.start in ("random", "imagenet") for phase in config.phases[:1])


def test_small_config_is_the_packaged_network():
    packaged = TRAINING.parent / "src" / "rmnet" / "pretrained" / "rmnet-small" / "config.json"
    assert SMALL.network == type(SMALL.network).from_json(packaged.read_text())


def test_paper_config_has_the_papers_widths():
    network = read_config(TRAINING / "configs" / "rmnet-r50.json").network
    default = type(network)()
    widths = ("backbone", "stage_widths", "stage_depths", "key_width", "value_width")
    assert all(getattr(network, name) == getattr(default, name) for name in widths)
    assert (network.read, network.tied_encoders) == ("excluded", False)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"phases": []}, None),
        ({"phase": []}, "unknown fields.*accepted: network, flow, phases"),
        ({"check_size": "large"}, "check_size is 'large'; accepted: a whole number"),
        ({"check_size": True}, "accepted: a whole number"),
        ({"network": {}}, "network: .*format_version"),
        ({"optimiser": {"betas": [0.9]}}, "betas is .*accepted: a list of 2"),
        ({"flow": {"clips": 1}}, "flow lacks .'rate', 'recipes'"),
    ],
)
def test_wrong_field_error_names_the_accepted_ones(change, told):
    if told is None:
        assert config_from_json(changed(**change), "x").phases == ()
    else:
        with pytest.raises(TrainingConfigError, match=told):
            config_from_json(changed(**change), "x.json")


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("start", "scratch", r"phases\[0\].start is 'scratch'; accepted: 'random', 'imagenet'"),
        ("loss", "dice", "accepted: 'hardest', 'lovasz'"),
        ("clips", 0, "clips is 0; accepted: at least 1"),
        ("trunk_rate", -1, "trunk_rate is -1.0; accepted: at least 0"),
        ("freeze_batchnorm", False, "fold_batchnorm is True; accepted: true with `freeze_batch"),
        ("span", [0.5, 0.5], r"span is \[0.5, 0.5\]"),
        ("hardest", [[0.5, 1], [0.1, 0.2]], "points by rising progress"),
        ("hardest", 0, "above 0"),
        ("recipes", [], "one recipe or more"),
        ("margins", {"query": [64, 24]}, r"\[least, most\]"),
        ("rate", {"peak": 1, "end": 2}, "end is 2.0; accepted: above 0, at most `peak`"),
    ],
)
def test_wrong_phase_error_says_what_is_accepted(field, value, told):
    fields = changed()
    fields["phases"][0][field] = value
    with pytest.raises(TrainingConfigError, match=told):
        config_from_json(fields, "x.json")


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("size", [100, 128], "multiples of 16"),
        ("batch", 0, "at least 1"),
        ("objects", [], "a list of numbers from 1"),
        ("smallest", 4, "at least 8 px"),
        ("jump", -1, "at least 0"),
        ("blur", 2, "from 0 to 1"),
        ("thin", -0.5, "from 0 to 1"),
        ("real", 1.5, "from 0 to 1"),
        ("chance", -1, "values from 0"),
        ("colour", None, "accepted: a number"),
    ],
)
def test_wrong_recipe_error_says_what_is_accepted(field, value, told):
    fields = changed()
    fields["phases"][0]["recipes"][0][field] = value
    with pytest.raises(TrainingConfigError, match=told):
        config_from_json(fields, "x.json")


def test_flow_recipes_must_know_their_flow():
    fields = changed()
    fields["flow"]["recipes"][0]["real"] = 0.2
    with pytest.raises(TrainingConfigError, match="the flow must be known"):
        config_from_json(fields, "x.json")


def test_duplicate_and_unknown_phases_are_refused():
    fields = changed()
    fields["phases"][1]["name"] = "main"
    with pytest.raises(TrainingConfigError, match="each name once"):
        config_from_json(fields, "x.json")
    with pytest.raises(TrainingConfigError, match="accepted: --phase with main, larger, fast"):
        SMALL.phase("medium")


def test_missing_or_damaged_file_names_an_example(tmp_path):
    (tmp_path / "bad.json").write_text("{")
    for name in ("bad.json", "none.json"):
        with pytest.raises(TrainingConfigError, match=r"configs/rmnet-small\.json"):
            read_config(tmp_path / name)


def test_curve_is_straight_between_points_and_flat_beyond():
    curve = Curve(((0.2, 1.0), (0.4, 0.0), (0.4, 5.0)))
    assert [curve(p) for p in (0.0, 0.2, 0.3, 0.4, 1.0)] == pytest.approx([1, 1, 0.5, 5, 5])


def test_learning_rate_rises_then_falls_to_its_end():
    rate = Rate(peak=1.0, end=0.01)
    rates = [rate(p) for p in np.linspace(0, 1, 101)]
    top = int(np.argmax(rates))
    assert rates[top] == pytest.approx(1.0)
    assert top == 3
    assert rates[-1] == pytest.approx(0.01)
    assert sorted(rates[top:], reverse=True) == rates[top:]


def test_mixture_draws_in_proportion_to_its_chances():
    mixture = SMALL.phase("main").recipes
    rng = np.random.default_rng(0)

    def share(progress, is_wanted):
        drawn = [mixture.draw(progress, rng) for _ in range(2000)]
        return np.mean([is_wanted(recipe) for recipe in drawn])

    def is_small(recipe):
        return (recipe.height, recipe.frames) == (256, 3)

    assert share(0.0, is_small) == 1  # three frames of 256 px for 35 % of the run
    assert share(0.34, is_small) > 0.85
    assert share(0.9, is_small) == pytest.approx(0.14, abs=0.03)
    assert share(0.9, lambda recipe: recipe.objects > 1) == pytest.approx(0.34, abs=0.04)
    assert share(0.9, lambda recipe: recipe.frames == 6) == pytest.approx(0.14, abs=0.03)


def test_larger_phase_is_the_main_phase_with_larger_batches():
    def shapes(name):
        return [
            (x.size, x.frames, x.objects, x.chance, x.real, x.max_gap)
            for x in SMALL.phase(name).recipes.ingredients
        ]

    assert shapes("larger") == shapes("main")
    factors = [
        large.batch / small.batch
        for large, small in zip(
            SMALL.phase("larger").recipes.ingredients,
            SMALL.phase("main").recipes.ingredients,
            strict=True,
        )
    ]
    assert set(factors) == {3}


def test_fast_phase_continues_on_small_thin_fast_objects():
    phase = SMALL.phase("fast")
    assert (phase.start, phase.freeze_batchnorm, phase.fold_batchnorm) == ("average", True, True)
    for recipe in phase.recipes.ingredients:
        assert (recipe.smallest, recipe.real, recipe.max_gap) == (16, 0.5, 12)
        assert recipe.jump > 1
        assert recipe.thin > 0
        assert recipe.blur > 0
