"""Run a benchmark clip by clip. A clip that fails is a result and does not end the run."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from rmnet.errors import RMNetError, VideoError
from rmnet.evaluation.clip import Benchmark, ClipResult, EvaluationClip
from rmnet.evaluation.record import Record
from rmnet.io import write_label_png
from rmnet.results import FrameSegmentation

_UNFINISHED = ".unfinished"  # folder of the clip that is being tracked

# (images, masks by frame number) -> results: RMNetSegmenter.stream with its options bound.
Track = Callable[[list[Path], dict[int, Any]], Generator[FrameSegmentation, None, None]]


def run_benchmark(benchmark: Benchmark, track: Track, *, record: Record) -> Iterator[ClipResult]:
    """Track, score and record the clips that the record lacks.

    A clip's predictions appear in its folder, OUTPUT/FOLDER/CLIP, once it is tracked to its end,
    and are scored from there. If anything raises on a clip, its error is recorded with J and F
    of 0, and the next run tries it again. Interruptions (KeyboardInterrupt) are not caught.

    Args:
        benchmark: Benchmark to run.
        track: Function that tracks a clip.
        record: Record of the output folder.

    Yields:
        One result per clip in the benchmark's order, including those of earlier runs.
    """
    record.write()
    for clip in benchmark.clips:
        folder = record.path.parent / benchmark.folder / clip.name
        result = record.get(clip.name)
        if result is None or not folder.is_dir():
            result = _evaluate(clip, folder, track)
            record.add(result)
        yield result


def compare_folders(benchmark: Benchmark, *, record: Record | None = None) -> Iterator[ClipResult]:
    """Score existing predictions.

    Args:
        benchmark: Benchmark of `open_folders`.
        record: Record for the results; None to write no file.

    Yields:
        One result per clip. A clip that cannot be compared has its error, and J and F of 0.
    """
    for clip in benchmark.clips:
        result = _evaluate(clip, clip.predictions or Path(clip.name), None)
        if record is not None:
            record.add(result)
        yield result


def _evaluate(clip: EvaluationClip, folder: Path, track: Track | None) -> ClipResult:
    """Track a clip if a function is given, and score the predictions in its folder."""
    try:
        seconds = None if track is None else _track_into(folder, clip, track)
        rows = clip.score(folder) if clip.scored else []
    except Exception as error:  # any error: the other clips are still to be run
        text = " ".join(str(error).split())
        if not isinstance(error, RMNetError | OSError) or not text:
            text = f"{type(error).__name__}: {text}"
        rows = clip.zero_rows() if clip.scored else []
        return ClipResult(clip.name, error=text, scored=clip.scored, objects=rows)
    return ClipResult(clip.name, len(clip.images), seconds, scored=clip.scored, objects=rows)


def _track_into(folder: Path, clip: EvaluationClip, track: Track) -> float:
    """Write the predictions of a clip, whole or not at all; return the seconds a frame."""
    if not clip.images:
        raise VideoError("the clip has no images; accepted: a folder of them")
    start, ids, kept = time.perf_counter(), set[int](), clip.kept
    unfinished = folder.parent / _UNFINISHED
    shutil.rmtree(unfinished, ignore_errors=True)  # left by a run that was killed
    unfinished.mkdir(parents=True)
    try:
        with closing(track(list(clip.images), dict(clip.given()))) as results:
            for result in results:
                ids.update(result.object_ids)
                name = clip.images[result.index].stem
                if not kept or name in kept:
                    write_label_png(unfinished / f"{name}.png", result.labels, object_ids=ids)
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.replace(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return (time.perf_counter() - start) / len(clip.images)
