#!/usr/bin/env python3
"""Time saving and loading of a session whose memory is full.

    python -m benchmarks.bench_session_file --json benchmarks/results/session_file.json

The frames are those of the demo at 480x854, all of them remembered. Times are medians of ten.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.machine import describe_machine
from rmnet import MemoryPolicy, RMNetSegmenter
from rmnet.demo import make_clip

REPEATS = 10


def median_ms(call: Callable[[], object]) -> float:
    """Return the median time of ten calls, ms."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default="rmnet-small")
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    clip = make_clip(num_frames=args.frames + 1, size=(480, 854))
    segmenter = RMNetSegmenter.from_pretrained(args.weights, device="cpu")
    session = segmenter.start(memory=MemoryPolicy(every=1, max_frames=args.frames))
    seconds = []
    for t, frame in enumerate(clip.frames):
        start = time.perf_counter()
        session.step(frame, clip.labels[0] if t == 0 else None)
        seconds.append(time.perf_counter() - start)
    with tempfile.TemporaryDirectory(dir=".") as folder:  # /tmp may lie in memory
        path = session.save(Path(folder) / "clip.session")
        report = {
            "machine": describe_machine(),
            "memory_frames": len(session.memory_stats().frames),
            "objects": len(session.objects),
            "file_mb": path.stat().st_size / 1e6,
            "step_ms": 1000 * statistics.median(seconds),
            "save_ms": median_ms(lambda: session.save(path)),
            "load_ms": median_ms(lambda: segmenter.load_session(path)),
        }
    print(json.dumps(report, indent=1))
    if args.json is not None:
        args.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
