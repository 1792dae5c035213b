"""Experiments, generated stills and the table of results."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from rmnet.network.rmnet import RMNet
from training import changes, experiment_table, experiments
from training.changes import EXPERIMENTS, base_config
from training.layouts import read_folder
from training.shapes import make_stills
from training.sources import HELD_OUT, Sources
from training_tools import EXPERIMENTS as BASE
from training_tools import WIDTHS, write_folder


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_every_change_changes_something_and_still_trains(experiment):
    base = base_config(BASE)
    changed = experiment.change(base)
    assert (changed == base) is (experiment.name == "base" or experiment.photographs)
    rng = np.random.default_rng(0)
    for progress in (0.0, 0.7, 0.75, 1.0):
        recipe = changed.phases[0].recipes.draw(progress, rng)
        assert recipe.frames == (2 if progress < changes.SWITCH else 3)
    with torch.device("meta"):
        RMNet(changed.network)


def test_names_are_unique():
    assert len({experiment.name for experiment in EXPERIMENTS}) == len(EXPERIMENTS)


def test_budget_matches_the_page():
    page = experiment_table.PAGE.read_text()
    assert "4,000 clips of 2 frames at 128 px, then 1,500 of 3 frames at 160 px" in page
    assert (changes.TWO_FRAMES, changes.THREE_FRAMES) == (4000, 1500)
    assert base_config(BASE).phases[0].clips == 5500


def test_three_quarters_of_the_batches_have_several_objects():
    (experiment,) = (x for x in EXPERIMENTS if x.name == "several")
    mixture = experiment.change(base_config(BASE)).phases[0].recipes
    rng = np.random.default_rng(0)
    several = [mixture.draw(0.9, rng).objects > 1 for _ in range(2000)]
    assert np.mean(several) == pytest.approx(0.75, abs=0.03)


def test_generated_stills_have_objects_and_are_reproducible():
    stills, again = (make_stills(6, seed=3, size=(96, 128)) for _ in range(2))
    for still, same in zip(stills, again, strict=True):
        assert torch.equal(still.image, same.image)
        assert still.labels.shape == (96, 128)
        assert set(still.boxes) <= {1, 2, 3, 4}
        assert still.image.float().std() > 5
    assert sum(bool(still.usable(12)) for still in stills) >= 5


def test_free_data_has_no_photographs_except_the_clips_own(tmp_path):
    free = Sources.read([write_folder(tmp_path)], held_out=HELD_OUT, side=None, shapes=3)
    assert set(free.packs) == {"shapes", "frames"}
    assert set(free.films) == {"ball"}
    assert len(free.backgrounds) == 3 + 2  # the shapes; every fifth of ball's 8 frames


def test_result_says_what_was_run(tmp_path, monkeypatch):
    tiny = replace(BASE, network=replace(BASE.network, **WIDTHS))
    monkeypatch.setattr(experiments, "read_config", lambda path: tiny)
    found = read_folder(write_folder(tmp_path), side=None)
    (experiment,) = (x for x in EXPERIMENTS if x.name == "untied")
    result = experiments.run_experiment(experiment, found, tmp_path / "run", clips=30, workers=0)
    assert (result["name"], result["seed"]) == ("untied", 0)
    assert result["clips"] >= 30
    assert set(result["J by clip"]) == {"bus"}
    assert result["J"] == pytest.approx(result["J by clip"]["bus"])
    assert result["seconds"] > 0


def test_seconds_of_a_stopped_run_are_kept_by_part():
    lines = [{"seconds": seconds} for seconds in (1.0, 5.0, 2.0, 3.0)]
    assert experiments._seconds_of_parts(lines) == [5.0, 3.0]


def test_table_has_a_row_for_every_experiment_run_or_not(tmp_path):
    def result(name, seed, score):
        return {
            "name": name, "seed": seed, "J": score, "training J": 0.5,
            "parameters": 3_700_000, "seconds": 300.0,
        }  # fmt: skip

    some = [result("base", 0, 0.5), result("base", 1, 0.52), result("wide", 1, 0.55)]
    for one in some:
        (tmp_path / f"{one['name']}-{one['seed']}.json").write_text(json.dumps(one))
    page = tmp_path / "page.md"
    page.write_text(f"before {experiment_table.BEGIN} old {experiment_table.END} after")
    experiment_table.update_page(page, tmp_path)
    text = page.read_text()
    assert text.startswith("before ")
    assert text.endswith(" after")
    assert " old " not in text
    rows = {line.split(" | ")[0].lstrip("| "): line for line in text.splitlines() if "|" in line}
    assert {experiment.name for experiment in EXPERIMENTS} <= set(rows)
    assert "0.500, 0.520" in rows["base"]
    assert "| 0.550 | +0.030 |" in rows["wide"]  # compared with base at the same seed
    assert rows["untied"].count(experiment_table.NOT_RUN) == 5
