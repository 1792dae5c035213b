"""Training runs: time limits, one process per folder, and no worker left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from training import batches, clock
from training.clock import Clock, Deadline
from training.export import join
from training.folder_lock import FolderLock
from training.parallel import WHOLE
from training.runs import CHECKPOINT, read_checkpoint
from training.sources import Sources
from training.start import flow_state
from training.strict_json import TrainingConfigError
from training.train import train
from training_tools import CLIPS, PHASE, TINY, TRAINING, write_folder


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return Sources.read([write_folder(tmp_path_factory.mktemp("data"))], held_out=())


@pytest.fixture
def time(monkeypatch):
    """A clock that advances by a second whenever it is read."""
    now = SimpleNamespace(seconds=1000.0)

    def look():
        now.seconds += 1
        return now.seconds

    monkeypatch.setattr(clock, "time", SimpleNamespace(monotonic=look))
    return now


def run(sources, out, **settings):
    return train(sources, TINY, settings.pop("phase", PHASE), out, workers=0, **settings)


def test_progress_follows_the_clock_where_there_is_a_deadline(time):
    deadline = Deadline(Clock(spent=20.0), minutes=1.0)
    schedule = batches.Schedule("tiny", CLIPS, planned=8, span=(0.5, 1.0), deadline=deadline)
    assert schedule.progress(0) == pytest.approx(0.5 + 0.5 * 21 / 60)
    time.seconds += 18
    assert schedule.progress(7000) == pytest.approx(0.5 + 0.5 * 40 / 60)
    assert not schedule.is_over(8000)
    time.seconds += 30
    assert schedule.is_over(0)
    assert schedule.progress(0) == 1.0


def test_run_ends_at_its_deadline_and_resumes_with_the_time_left(sources, tmp_path, time):
    run(sources, tmp_path, minutes=1.0)
    first = read_checkpoint(tmp_path)
    assert 60 <= first["seconds"] <= 70
    assert first["seen"] > PHASE.clips  # which a run with a time limit ignores
    run(sources, tmp_path, minutes=1.0)
    assert read_checkpoint(tmp_path)["seen"] == first["seen"]
    run(sources, tmp_path, minutes=1.5)
    second = read_checkpoint(tmp_path)
    assert 90 <= second["seconds"] <= 105
    assert second["seen"] > first["seen"]


def test_time_between_two_processes_does_not_count(sources, tmp_path, time):
    run(sources, tmp_path, minutes=1.0, stop_after=2)
    spent = read_checkpoint(tmp_path)["seconds"]
    time.seconds += 3600
    run(sources, tmp_path, minutes=1.0, stop_after=4)
    assert read_checkpoint(tmp_path)["seconds"] < spent + 30


def test_two_runs_do_not_share_a_folder(sources, tmp_path):
    lock = FolderLock(tmp_path)
    with pytest.raises(TrainingConfigError, match=rf"process {os.getpid()} trains into"):
        run(sources, tmp_path)
    lock.release()
    run(sources, tmp_path, clips=2)
    run(sources, tmp_path, clips=4)  # the previous run released the folder


def test_failed_run_releases_its_folder(sources, tmp_path):
    run(sources, tmp_path, clips=2)
    with pytest.raises(TrainingConfigError, match="another phase"):
        run(sources, tmp_path, phase=replace(PHASE, name="other"))
    FolderLock(tmp_path).release()


def test_killed_process_leaves_no_lock_behind(tmp_path):
    """Not even while a worker that it forked is still alive."""
    code = (
        "import os, sys, time; from pathlib import Path; from training.folder_lock import FolderLock\n"
        "lock = FolderLock(Path(sys.argv[1])); child = os.fork()\n"
        "print(child, flush=True) if child else None; time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdout=subprocess.PIPE, cwd=TRAINING.parent, text=True,
    )  # fmt: skip
    with holder:
        worker = int(holder.stdout.readline())
        with pytest.raises(TrainingConfigError, match=f"process {holder.pid} "):
            FolderLock(tmp_path)
        holder.kill()
        holder.wait()
        FolderLock(tmp_path).release()
        os.kill(worker, signal.SIGKILL)


@pytest.mark.parametrize("ends", ["stopped", "failed"])
def test_no_worker_outlives_a_run(sources, tmp_path, monkeypatch, ends):
    seen = []

    def check(*arguments, **options):
        seen.append(len(multiprocessing.active_children()))
        raise ZeroDivisionError

    if ends == "failed":
        monkeypatch.setattr("training.train.segmentation_loss", check)
        with pytest.raises(ZeroDivisionError):
            train(sources, TINY, PHASE, tmp_path, clips=400, workers=2)
        assert seen == [2]
    else:
        train(sources, TINY, PHASE, tmp_path, clips=400, workers=2, stop_after=2)
    assert multiprocessing.active_children() == []


def test_closing_the_batches_ends_their_workers(sources):
    schedule = batches.Schedule("tiny", CLIPS, planned=400)
    made = batches.load(
        sources, schedule, seen=0, part=WHOLE, workers=2, device=torch.device("cpu")
    )  # fmt: skip
    next(made)
    assert len(multiprocessing.active_children()) == 2
    made.close()
    assert multiprocessing.active_children() == []


def test_workers_leave_signals_to_the_run(sources):
    """A job manager sends SIGTERM to every process; the run must still save and end properly."""
    schedule = batches.Schedule("tiny", CLIPS, planned=40)
    made = batches.load(
        sources, schedule, seen=0, part=WHOLE, workers=1, device=torch.device("cpu")
    )  # fmt: skip
    first = next(made)
    (worker,) = multiprocessing.active_children()
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(worker.pid, number)
    rest = list(made)
    assert (first.before, rest[-1].after) == (0, 40)
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("lacks", ["phase", "network"])
def test_checkpoint_of_an_earlier_version_is_refused(sources, tmp_path, lacks):
    run(sources, tmp_path, clips=2)
    state = read_checkpoint(tmp_path)
    del state[lacks]
    torch.save(state, tmp_path / CHECKPOINT)
    for use in (lambda: flow_state(str(tmp_path)), lambda: join(tmp_path, None)):
        with pytest.raises(TrainingConfigError, match=f"lacks '{lacks}'.*accepted"):
            use()
