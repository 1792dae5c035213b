"""The training commands as a user runs them, each in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import benchmarks
import training
from training.runs import read_checkpoint
from training_tools import TINY, TRAINING, assert_same_state, write_folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("data"))


def shell(*words, **settings):
    """Start a command as a user would."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    line = [sys.executable, "-m", *map(str, words)]
    return subprocess.Popen(
        line,
        cwd=TRAINING.parent,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **settings,
    )


def tiny_config(folder):
    """Write a config with one tiny phase, whose recipe runs in no time; return its path."""
    fields = json.loads((TRAINING / "configs" / "rmnet-small.json").read_text())
    fields["network"] = json.loads(TINY.network.to_json())
    recipe = {"size": [64, 64], "frames": 2, "batch": 2, "real": 0.4}
    rate = fields["phases"][0]["rate"]
    phase = {"name": "stills", "clips": 12, "start": "random", "rate": rate, "recipes": [recipe]}
    fields["phases"] = [phase]
    path = folder / "tiny.json"
    path.write_text(json.dumps(fields))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_stopped_command_resumes_to_the_same_numbers(data, tmp_path, processes):
    base = (
        "training.train", tiny_config(tmp_path), "--phase", "stills",
        "--data", data, "--processes", processes,
    )  # fmt: skip

    def finish(process):
        out, error = process.communicate(timeout=200)
        assert process.returncode == 0, error
        return out

    whole = shell(*base, "--out", tmp_path / "whole", "--clips", 120)
    finish(whole)
    stopped = shell(*base, "--out", tmp_path / "parts", "--clips", 120, "--check-every", 20)
    log = tmp_path / "parts" / "log.jsonl"
    while not (log.exists() and "check" in log.read_text()):
        assert stopped.poll() is None, stopped.communicate()[1]
        time.sleep(0.05)
    stopped.send_signal(signal.SIGTERM)
    finish(stopped)
    first = read_checkpoint(tmp_path / "parts")["seen"]
    assert 0 < first < 120
    assert "stopped" in log.read_text()
    finish(shell(*base, "--out", tmp_path / "parts", "--clips", 120))
    states = [read_checkpoint(tmp_path / name) for name in ("whole", "parts")]
    for name in ("module", "average"):
        assert_same_state(states[0][name], states[1][name])


@pytest.mark.slow
def test_wrong_command_line_is_an_error_without_a_traceback(data, tmp_path):
    base = ("training.train", tiny_config(tmp_path), "--data", data, "--out", tmp_path / "out")
    process = shell(*base, "--phase", "clips")
    _, error = process.communicate(timeout=100)
    assert process.returncode == 1
    assert "error: there is no phase 'clips'; accepted: --phase with stills" in error
    assert "Traceback" not in error


def test_training_is_the_package_of_the_checkout():
    """It is not `tests/training`, which pytest's `pythonpath` makes importable too."""
    assert Path(training.__file__).parent == TRAINING
    assert Path(benchmarks.__file__).parent == TRAINING.parent / "benchmarks"
