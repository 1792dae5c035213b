"""The benchmark that runs the paper's ablations: its settings, record and tables."""

import json
import sys

import pytest

import tiny
from benchmarks import ablate
from benchmarks.ablation_runs import Ablations, Flow
from benchmarks.ablations import TABLES
from evaluation_data import davis_root
from rmnet.cli import main as rmnet_main


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return davis_root(tmp_path_factory.mktemp("davis"))[0]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return tiny.segmenter().save_pretrained(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def run(root, weights, tmp_path, monkeypatch, capsys):
    def run(*options):
        path = tmp_path / "ablations.json"
        command = ["ablate.py", root, "--weights", weights, "--json", path, *options]
        monkeypatch.setattr(sys, "argv", [*map(str, command)])
        ablate.main()
        return capsys.readouterr().out, json.loads(path.read_text())

    return run


def ablations(root=None, flows=None):
    return Ablations(
        tiny.network(), device="cpu", size=None, annotations=root, max_frames=None,
        flows=flows or {},
    )  # fmt: skip


def settings():
    return [(number, one) for number, table in TABLES.items() for one in table.settings]


def row(number, name):
    return next(one for one in TABLES[number].settings if one.name == name)


def test_published_means_match_the_published_numbers():
    rows = [one.published for _, one in settings() if one.published]
    assert len(rows) == 4 + 3 + 3
    for published in rows:
        mean = (published.jaccard + published.contour) / 2
        assert published.average == pytest.approx(mean, abs=1.01e-3)  # printed to three digits


def test_equivalent_rows_are_one_run():
    key = ablations().key
    published = [row("5", "on, on"), row("6", "flow"), row("7", "TinyFlowNet")]
    assert len({key(one) for one in published}) == 1
    assert key(row("6", "previous mask")) == key(row("7", "none"))
    for number, table in TABLES.items():
        keys = [key(one) for one in table.settings if one.flow is not None]
        assert len({*keys}) == len(keys), number


def test_a_different_flow_is_a_different_run():
    ours = [Flow(f"RAFT {name}", lambda *_: None) for name in ("a.pth", "b.pth")]
    keys = {ablations(flows={"RAFT": flow}).key(row("7", "RAFT")) for flow in ours}
    assert len(keys) == 2
    assert ablations().why_not(row("7", "RAFT")) == "no weights"
    assert ablations().why_not(row("7", "FlowNet2-CSS")) == "not implemented"
    assert ablations(flows={"RAFT": ours[0]}).why_not(row("7", "RAFT")) is None


def test_a_run_resumes_where_it_stopped_and_prints_its_record(run, root, monkeypatch):
    first, recorded = run("--table", "6", "--clips", "bee")
    measured = [clips for one in recorded["runs"] for clips in [one["clips"]]]
    assert [[*clips] for clips in measured] == [["bee"]] * 4
    assert set(measured[0]["bee"]) == {"frames", "objects", "ms", "commit"}
    assert [one["id"] for one in measured[0]["bee"]["objects"]] == [1, 3, 7]
    assert set(measured[0]["bee"]["ms"]) == {"read", "region", "step"}  # the previous mask: no flow
    assert set(measured[2]["bee"]["ms"]) == {"read", "region", "flow", "step"}
    assert "| 0.810 | 0.860 | 0.835 |" in first

    seen = []
    measure = Ablations.measure
    monkeypatch.setattr(
        Ablations, "measure", lambda *args: seen.append(args[2].name) or measure(*args)
    )
    again, _ = run("--table", "6", "--clips", "bee")
    assert seen == []
    assert again == first
    _, both = run("--table", "6")
    assert seen == ["ant"] * 4
    assert both["runs"][0]["clips"]["bee"] == measured[0]["bee"]
    with pytest.raises(ValueError, match="'max_frames': 3"):
        run("--table", "6", "--max-frames", "3")


def test_scores_equal_those_of_rmnet_eval(run, root, weights, tmp_path):
    _, recorded = run("--table", "read")
    arguments = ["eval", "davis", root, "--weights", weights, "--device", "cpu", "-o"]
    assert rmnet_main([*map(str, arguments), str(tmp_path / "out")]) == 0
    evaluated = json.loads((tmp_path / "out" / "results.json").read_text())
    ours = next(one for one in recorded["runs"] if one["setting"]["read"] == "zeroed")
    assert {name: clip["objects"] for name, clip in ours["clips"].items()} == {
        clip["clip"]: [{"id": o["id"], "J": o["J-Mean"], "F": o["F-Mean"]} for o in clip["objects"]]
        for clip in evaluated["clips"]
    }


def test_tables_say_why_a_row_is_missing_and_can_be_drawn(run, tmp_path):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "tables.png"
    text, _ = run("--table", "7", "read", "--clips", "bee", "--max-frames", "3", "--plot", picture)
    lines = {line.split("|")[1].strip(): line for line in text.splitlines() if "|" in line}
    assert "| no weights |" in lines["RAFT"]
    assert "| not implemented |" in lines["FlowNet2-CSS"]
    assert "| 0.835 | 10.05 |" in lines["TinyFlowNet"]
    assert {line.count("|") for name, line in lines.items() if name in ("RAFT", "none")} == {11}
    assert picture.read_bytes()[:4] == b"\x89PNG"
