"""Streams of any length run in constant memory."""

import subprocess
import sys
from pathlib import Path

FRAMES, BUSY_FRAMES, WARM_UP, ALLOWED_BYTES = 2000, 500, 200, 5 * 2**20

# Runs in its own process: memory left by other tests would be reused, or counted.
PROGRAM = f"""
import gc, os, sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
import numpy as np
import tiny
import torch

torch.set_num_threads(1)


def resident():
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def camera():
    rng = np.random.default_rng(0)
    while True:
        yield rng.integers(0, 256, (32, 48, 3), dtype=np.uint8)


labels = np.zeros((32, 48), dtype=np.int32)
labels[4:20, 4:20] = 1
labels[10:30, 26:44] = 2
results = tiny.segmenter().stream(camera(), labels)
for result in results:
    if result.index == {WARM_UP}:
        before = resident()
    if result.index == {FRAMES}:
        break
print(resident() - before)
"""


# Objects are added, removed and corrected in a session that is saved and loaded along the way.
BUSY = (
    PROGRAM.partition("results =")[0]
    + f"""
import tempfile
from rmnet import MemoryPolicy

segmenter, frames = tiny.segmenter(), camera()
folder = tempfile.TemporaryDirectory()
session = segmenter.start(memory=MemoryPolicy(every=1, max_frames=10))
session.step(next(frames), labels)
for t in range(1, {BUSY_FRAMES}):
    session.step(next(frames))
    if t % 7 == 0:
        session.remove_objects(session.objects[0])
        session.add_objects({{t: labels == 1}})
    if t % 5 == 0:
        session.correct({{session.objects[-1]: labels == 2}})
    if t % 50 == 0:
        session = segmenter.load_session(session.save(folder.name + "/session"))
    if t == {WARM_UP}:
        before = resident()
print(resident() - before)
"""
)


def test_two_thousand_frames_grow_by_less_than_5_mb_after_the_first_200():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < ALLOWED_BYTES


def test_objects_that_come_and_go_leave_nothing_behind():
    done = subprocess.run([sys.executable, "-c", BUSY], capture_output=True, text=True, check=True)
    assert int(done.stdout) < ALLOWED_BYTES
