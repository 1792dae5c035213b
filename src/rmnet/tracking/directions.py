"""One video in both directions: a backward pass, then a forward pass that merges its results."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import groupby
from typing import Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from rmnet.errors import ConfigError, MaskError, VideoError, shown
from rmnet.io import BackwardFrames, FrameSource, check_can_be_read_again
from rmnet.results import FrameSegmentation
from rmnet.tracking.annotation import Annotation
from rmnet.tracking.merging import merge
from rmnet.tracking.plan import Direction, Plan
from rmnet.tracking.segmentation import blank
from rmnet.tracking.session import TrackingSession
from rmnet.tracking.spool import ResultSpool
from rmnet.tracking.stream import OnBadFrame, check_frame_size, warn_of_late_masks


class StartSession(Protocol):
    """`RMNetSegmenter.start` with the options of a video."""

    def __call__(self, *, first_index: int, keep_probabilities: bool) -> TrackingSession:
        """Start a session."""
        ...


def check_direction(direction: object, source: FrameSource) -> None:
    """Raise a ConfigError unless a source can be tracked in a direction."""
    if direction not in get_args(Direction):
        raise ConfigError(
            f'direction is {shown(direction)}; accepted: "forward", "backward" or "both"'
        )
    if direction != "forward":
        check_can_be_read_again(source)


def segment_directions(
    start: StartSession,
    source: FrameSource,
    given: Mapping[int, Annotation],
    *,
    direction: Direction,
    keep_probabilities: bool = False,
    on_bad_frame: OnBadFrame = "stop",
    progress: bool = False,
) -> Generator[FrameSegmentation, None, None]:
    """Track a video backward, or from each object's nearest mask; see `RMNetSegmenter.stream`.

    The backward pass is a session that is fed frames in descending order. Its results wait in a
    temporary file until the frames are read once more in ascending order. There the forward pass
    runs, if there is one, and each frame's result is put together.
    """
    frames = BackwardFrames(source, max(given) + 1)
    last = frames.num_frames - 1
    in_video = [index for index in sorted(given) if index <= last]
    backward = _usable(given, reversed(in_video))
    forward = {} if direction == "backward" else _usable(given, in_video)
    _check_all_can_start(given, in_video, [*forward.values(), *backward.values()])
    plan = Plan.make(_object_ids(forward), _object_ids(backward))
    # Boxes and clicks do not tell the size; then it is that of the first frame that can be read.
    size = next((one.size for one in given.values() if one.size is not None), None)
    is_skipped = on_bad_frame == "skip"

    def attempt(
        index: int, frame: NDArray[np.uint8] | VideoError
    ) -> tuple[NDArray[np.uint8] | None, str | None]:
        """Return a frame, or why it is skipped; an error that does not allow that is raised."""
        nonlocal size
        if not isinstance(frame, VideoError):
            size = size or (frame.shape[0], frame.shape[1])
            check_frame_size(frame, size, index)
            return frame, None
        if index in given or not is_skipped or size is None:
            raise frame
        return None, str(frame)

    def begin(masks: Mapping[int, Annotation], origin: int) -> _Pass:
        first = min((abs(index - origin) for index in masks), default=0)
        keep = keep_probabilities or plan.is_mixed
        return _Pass(start(first_index=first, keep_probabilities=keep), masks, origin)

    total = None if source.num_frames is None else source.num_frames + len(plan.backward_frames)
    with ResultSpool() as spool, _bar(total, show=progress) as tick:
        tracker = begin(backward, origin=max(backward, default=0))
        for index, attempted in _descending(frames, plan.backward_frames):
            frame, reason = attempt(index, attempted)
            result = tracker.take(index, frame, reason)
            answers = plan.answers(index)
            if answers.backward:
                is_kept = keep_probabilities or answers.forward
                spool.add(result if is_kept else replace(result, probabilities=None))
            tick()
        tracker = begin(forward, origin=0)
        index = -1
        with closing(source.attempted()) as ascending:
            for index, (attempted, seconds) in enumerate(ascending):
                frame, reason = attempt(index, attempted)
                answers = plan.answers(index)
                ahead = tracker.take(index, frame, reason) if answers.forward else None
                if frame is None or not (answers.forward or answers.backward):
                    result = blank(
                        size or (0, 0),
                        index=index,
                        seconds=seconds,
                        keep_probabilities=keep_probabilities,
                        object_ids=answers.forward + answers.backward,
                        skipped=reason,
                    )
                else:
                    behind = spool.read(index) if answers.backward else None
                    result = merge(ahead, behind, answers)
                kept = result.probabilities if keep_probabilities else None
                tick()
                yield replace(result, seconds=seconds, frame=frame, probabilities=kept)
    warn_of_late_masks(given, index + 1)


class _Pass:
    """A session that is fed a part of a video's frames; results have the numbers of the video."""

    def __init__(
        self, session: TrackingSession, given: Mapping[int, Annotation], origin: int
    ) -> None:
        # The numbers of the session count from the video's frame `origin`, in either direction.
        self._session, self._given, self._origin = session, given, origin

    def take(
        self, index: int, frame: NDArray[np.uint8] | None, reason: str | None
    ) -> FrameSegmentation:
        """Step to a frame, or skip it for a reason, after passing over those since the last one."""
        session, masks = self._session, self._given.get(index)
        number = abs(index - self._origin)
        if session.frame_index is not None and session.frame_index + 1 < number:
            # Frames are passed over only before a mask. Objects without one here are answered by
            # the other pass until their next: followed across the gap, they would get in the way.
            wanted = () if masks is None else masks.object_ids
            session.remove_objects([i for i in session.objects if i not in wanted])
            while (session.frame_index or 0) + 1 < number:
                session.skip()
        result = session.skip(reason or "") if frame is None else session.step(frame, masks)
        return replace(result, index=index)


def _usable(given: Mapping[int, Annotation], order: Iterable[int]) -> dict[int, Annotation]:
    """Return what is given to a pass in its order, without that from which nothing can start."""
    known: set[int] = set()
    usable: dict[int, Annotation] = {}
    for index in order:
        annotation = given[index].usable(known)
        if annotation.object_ids:
            known.update(annotation.object_ids)
            usable[index] = annotation
    return usable


def _check_all_can_start(
    given: Mapping[int, Annotation], in_video: Iterable[int], usable: Iterable[Annotation]
) -> None:
    started = {i for masks in usable for i in masks.object_ids}
    empty = sorted({i for index in in_video for i in given[index].object_ids} - started)
    if empty:
        raise MaskError(
            f"objects {empty} have no pixels in any of their masks, and no box or click on them; "
            "accepted: at least one of these. Leave these objects out"
        )


def _object_ids(given: Mapping[int, Annotation]) -> dict[int, tuple[int, ...]]:
    return {index: masks.object_ids for index, masks in given.items()}


def _descending(
    frames: BackwardFrames, visited: Iterable[int]
) -> Iterator[tuple[int, NDArray[np.uint8] | VideoError]]:
    """Yield number and frame of those visited, which descend."""
    # In an unbroken run, number and position have the same sum.
    for _, run in groupby(enumerate(visited), key=sum):
        indices = [index for _, index in run]
        with closing(frames.read(indices[-1], indices[0])) as pairs:
            for index, (frame, _) in zip(indices, pairs, strict=True):
                yield index, frame


@contextmanager
def _bar(total: int | None, *, show: bool) -> Iterator[Callable[[], object]]:
    """Show a bar of all steps of both passes; the context gives the function that advances it."""
    if not show:
        yield lambda: None
        return
    from tqdm import tqdm

    with tqdm(total=total, unit=" frames") as bar:
        yield bar.update
