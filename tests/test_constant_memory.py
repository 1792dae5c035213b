"""A stream of any length in constant memory."""

import subprocess
import sys
from pathlib import Path

FRAMES, WARM_UP, ALLOWED_BYTES = 2000, 200, 5 * 2**20

# In a process of its own: whatever other tests left behind would be reused, or counted.
PROGRAM = f"""
import gc, os, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
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


def test_two_thousand_frames_grow_by_less_than_5_mb_after_the_first_200():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < ALLOWED_BYTES
