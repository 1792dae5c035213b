#!/usr/bin/env python3
"""Time saving and loading of a session whose memory is full, and its history.

    python -m benchmarks.bench_session_file --json benchmarks/results/session_file.json

The frames are those of the demo at 480x854, all of them remembered. Times are medians of ten; those
of the history are the share of a step that it takes, and going back by half of the frames.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.machine import describe_machine
from rmnet import MemoryPolicy, RMNetSegmenter, TrackingSession
from rmnet.demo import make_clip
from rmnet.tracking.history import History

REPEATS = 10


def median_ms(call: Callable[[], object]) -> float:
    """Return the median time of ten calls, ms."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


@contextmanager
def timed_history(seconds: list[float]) -> Iterator[None]:
    """Append the time that keeping a frame takes, s."""
    keep = History.with_frame

    def timed(history: History, frame: Any) -> History:  # noqa: ANN401 a frame of the session's
        start = time.perf_counter()
        try:
            return keep(history, frame)
        finally:
            seconds.append(time.perf_counter() - start)

    with patch.object(History, "with_frame", timed):
        yield


def rewind_seconds(session: TrackingSession, frame: int) -> float:
    """Return the time that going back takes, s."""
    start = time.perf_counter()
    session.rewind(frame)
    return time.perf_counter() - start


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
    seconds, history_seconds = [], []
    for t, frame in enumerate(clip.frames):
        start = time.perf_counter()
        with timed_history(history_seconds):
            session.step(frame, clip.labels[0] if t == 0 else None)
        seconds.append(time.perf_counter() - start)
    with tempfile.TemporaryDirectory(dir=".") as folder:  # /tmp may lie in memory
        path = session.save(Path(folder) / "clip.session", history=False)
        whole = session.save(Path(folder) / "whole.session")
        history_mb = (whole.stat().st_size - path.stat().st_size) / 1e6
        report = {
            "machine": describe_machine(),
            "memory_frames": len(session.memory_stats().frames),
            "objects": len(session.objects),
            "file_mb": path.stat().st_size / 1e6,
            "step_ms": 1000 * statistics.median(seconds),
            "save_ms": median_ms(lambda: session.save(path, history=False)),
            "load_ms": median_ms(lambda: segmenter.load_session(path)),
            "history_ms": 1000 * statistics.median(history_seconds),
            "history_mb_per_frame": history_mb / args.frames,
            "load_with_history_ms": median_ms(lambda: segmenter.load_session(whole)),
            "rewind_ms": 1000 * rewind_seconds(session, args.frames // 2),
        }
    print(json.dumps(report, indent=1))
    if args.json is not None:
        args.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
