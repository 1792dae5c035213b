"""Run a benchmark, a clip at a time; a clip that fails is a result, not an end."""

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
from rmnet.io import read_label_png, write_label_png
from rmnet.metrics import LabelMap
from rmnet.results import FrameSegmentation

UNFINISHED = ".unfinished"  # folder of the clip that is being tracked, in the output

# (list of images, masks by frame) -> results: RMNetSegmenter.stream with its options bound.
Track = Callable[[list[Path], dict[int, Any]], Generator[FrameSegmentation, None, None]]


def run_benchmark(
    benchmark: Benchmark,
    track: Track,
    *,
    record: Record,
    output: Path,
    on_frame: Callable[[], object] = lambda: None,
) -> Iterator[ClipResult]:
    """Track and score the clips that are not recorded yet, and record each as it is done.

    The predictions of a clip appear in its folder when it is tracked to its end. Scored are these
    files. A clip on which anything raises has its error recorded, J and F of 0, and is tried again
    by the next run; interruptions (KeyboardInterrupt) are let through.

    Args:
        benchmark: What to run.
        track: Gives the results of a clip.
        record: Of the output.
        output: Where predictions go, in the folder of the benchmark and a folder a clip.
        on_frame: Called after every frame that was tracked.

    Yields:
        A result a clip, in the benchmark's order, recorded ones too.
    """
    record.write()
    for clip in benchmark.clips:
        folder = output / benchmark.folder / clip.name
        result = record.get(clip.name)
        if result is None or not folder.is_dir():
            result = _run_clip(clip, track, folder, output / UNFINISHED, on_frame)
            record.add(result)
        yield result


def compare_folders(benchmark: Benchmark, *, record: Record | None = None) -> Iterator[ClipResult]:
    """Score predictions that are there already.

    Args:
        benchmark: As `open_folders` gives it.
        record: To record the results in, if any.

    Yields:
        A result a clip; one that cannot be compared has its error, and J and F of 0.
    """
    for clip in benchmark.clips:
        result = _score_clip(clip, clip.predictions or Path(clip.name), None)
        if record is not None:
            record.add(result)
        yield result


def _run_clip(
    clip: EvaluationClip,
    track: Track,
    folder: Path,
    unfinished: Path,
    on_frame: Callable[[], object],
) -> ClipResult:
    start = time.perf_counter()
    shutil.rmtree(unfinished, ignore_errors=True)  # of a run that was killed
    try:
        if not clip.images:
            raise VideoError("the clip has no images; accepted: a folder of them")
        unfinished.mkdir(parents=True)
        _track_clip(clip, track, unfinished, on_frame)
        seconds = (time.perf_counter() - start) / len(clip.images)
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished.replace(folder)
    except Exception as error:  # whatever it is, the other clips are still to be run
        return _failed(clip, error)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return _score_clip(clip, folder, seconds)


def _track_clip(
    clip: EvaluationClip, track: Track, folder: Path, on_frame: Callable[[], object]
) -> None:
    given = dict(clip.given())
    ids: set[int] = set()
    with closing(track(list(clip.images), given)) as results:
        for result in results:
            ids.update(result.object_ids)
            name = clip.images[result.index].stem
            if not clip.asked or name in clip.asked:
                write_label_png(folder / f"{name}.png", result.labels, object_ids=ids)
            on_frame()


def _score_clip(clip: EvaluationClip, folder: Path, seconds: float | None) -> ClipResult:
    num_frames = len(clip.images)

    def read(name: str) -> LabelMap:
        return read_label_png(folder / f"{name}.png")

    if clip.score is None:
        return ClipResult(clip.name, [], num_frames, seconds, scored=False)
    try:
        return ClipResult(clip.name, clip.score(read), num_frames, seconds)
    except Exception as error:  # as above
        return _failed(clip, error)


def _failed(clip: EvaluationClip, error: Exception) -> ClipResult:
    text = " ".join(str(error).split())
    if not isinstance(error, RMNetError | OSError) or not text:
        text = f"{type(error).__name__}: {text}"
    if clip.score is None:
        return ClipResult(clip.name, error=text, scored=False)
    return ClipResult(clip.name, clip.zero(), error=text)
