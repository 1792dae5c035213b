"""One segmenter serving many sessions, in threads and in forked children."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

import tiny
from rmnet import MemoryPolicy

JOBS = 6

# Runs in its own process: the test is about whether threads were used before the fork.
FORK = """
import hashlib, os, signal, sys
sys.path.insert(0, sys.argv[1])
import tiny, torch

torch.set_num_threads(2)
segmenter = tiny.segmenter()
frames, labels = tiny.clip(3, size=(128, 128))

def digest():
    total = hashlib.sha256()
    for result in segmenter.stream(frames, labels, keep_probabilities=True):
        total.update(result.labels.tobytes() + result.probabilities.numpy().tobytes())
    return total.hexdigest()

if sys.argv[2] == "after use":
    digest()
reader, writer = os.pipe()
pid = os.fork()
if pid == 0:
    signal.alarm(100)
    if sys.argv[2] == "after use":
        torch.set_num_threads(1)
    os.write(writer, digest().encode())
    os._exit(0)
os.close(writer)
if sys.argv[2] == "after use":
    torch.set_num_threads(1)  # the number of threads affects the last bits
print(os.read(reader, 99).decode() == digest(), os.waitpid(pid, 0)[1])
"""


def job(segmenter, number):
    """Track one video; each number has its own frames, size, memory and changes of objects."""
    frames, labels = tiny.clip(8, seed=number)
    policy = MemoryPolicy(every=1 + number % 3, max_frames=2 + number)
    session = segmenter.start(
        size=40 + 4 * number, memory=policy, flow="none" if number % 2 else None,
        keep_probabilities=True,
    )  # fmt: skip
    for t, frame in enumerate(frames):
        yield session.step(frame, labels if t == 0 else None)
        if t == 2:
            yield session.remove_objects(3 if number % 2 else 7)
        if t == 4:
            yield session.correct(np.roll(labels, number, axis=0))


def assert_same(found, expected):
    for a, b in zip(found, expected, strict=True):
        assert np.array_equal(a.labels, b.labels)
        assert torch.equal(a.probabilities, b.probabilities)
        assert np.array_equal(a.regions, b.regions)


def test_sessions_in_threads_give_the_same_bytes_as_one_by_one():
    segmenter = tiny.segmenter()
    alone = [list(job(segmenter, number)) for number in range(JOBS)]
    together = [[] for _ in range(JOBS)]
    begin = threading.Barrier(JOBS)

    def work(number):
        begin.wait()
        together[number] += job(segmenter, number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(JOBS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for found, expected in zip(together, alone, strict=True):
        assert_same(found, expected)


def test_sessions_stepped_from_a_new_thread_each_time_give_the_same_bytes():
    segmenter = tiny.segmenter()
    alone = [list(job(segmenter, number)) for number in range(2)]
    jobs, found = [job(segmenter, number) for number in range(2)], [[], []]
    for _ in alone[0]:  # each step runs in a new thread
        for one, results in zip(jobs, found, strict=True):
            thread = threading.Thread(target=lambda o=one, r=results: r.append(next(o)))
            thread.start()
            thread.join()
    for one, expected in zip(found, alone, strict=True):
        assert_same(one, expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
@pytest.mark.parametrize("when", ["after import", "after use"])
def test_a_forked_child_tracks_like_its_parent(when):
    # After use, the child must set one thread first (docs/lab/reliability.md): otherwise it waits
    # forever for libgomp's threads, which a fork does not copy.
    done = subprocess.run(
        [sys.executable, "-c", FORK, str(Path(__file__).parents[1]), when],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["True", "0"]
