"""One video from its frames to its results, frame by frame."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from rmnet.errors import ConfigError, FrameError, VideoError, shown
from rmnet.io import AttemptedFrames, FrameSource
from rmnet.results import FrameSegmentation, VideoSegmentation
from rmnet.tracking.annotation import Annotation
from rmnet.tracking.segmentation import blank
from rmnet.tracking.session import TrackingSession

OnBadFrame = Literal["stop", "skip"]


def check_on_bad_frame(on_bad_frame: object) -> None:
    """Raise a ConfigError unless the value is one of `OnBadFrame`."""
    if on_bad_frame not in get_args(OnBadFrame):
        raise ConfigError(f'on_bad_frame is {shown(on_bad_frame)}; accepted: "stop" or "skip"')


def collect_results(
    results: Generator[FrameSegmentation, None, None], source: FrameSource
) -> VideoSegmentation:
    """Collect results without their frames; an exception carries those before it as `partial`."""
    done: list[FrameSegmentation] = []
    try:
        with closing(results):
            for result in results:
                done.append(replace(result, frame=None))
    except BaseException as error:
        partial = VideoSegmentation(done, source=source, is_whole=False)
        with suppress(AttributeError):  # classes with slots refuse new attributes
            setattr(error, "partial", partial)  # noqa: B010 of any class, not only ours
        raise
    return VideoSegmentation(done, source=source)


def segment_frames(
    session: TrackingSession,
    source: FrameSource,
    given: Mapping[int, Annotation],
    *,
    on_bad_frame: OnBadFrame = "stop",
    progress: bool = False,
) -> Generator[FrameSegmentation, None, None]:
    """Step a session through a video; see `RMNetSegmenter.stream`.

    The session is fresh, and starts at the first mask; or it has seen some of the frames, which
    are then read again and passed over.
    """
    first, last = min(given), session.frame_index
    index = -1
    # Closed explicitly: the traceback of an error would keep the bar and the video file open.
    with closing(_with_bar(source, show=progress)) as frames:
        for index, (frame, seconds) in enumerate(frames):
            if last is not None and index <= last:
                continue
            is_bad = isinstance(frame, VideoError)
            if is_bad and (on_bad_frame == "stop" or index in given):
                raise frame
            if index < first:
                result = _before_the_first_mask(
                    session, frame, given[first].size, index=index, seconds=seconds
                )
            elif is_bad:
                result = session.skip(str(frame), seconds=seconds)
            else:
                result = session.step(frame, given.get(index), seconds=seconds)
            yield replace(result, frame=None if is_bad else frame)
    warn_of_late_masks(given, index + 1)


def warn_of_late_masks(given: Iterable[int], num_frames: int) -> None:
    """Warn of masks and prompts after the last frame; an error would throw away what was tracked."""
    late = sorted(i for i in given if i >= num_frames)
    if late:
        warnings.warn(
            f"masks or prompts were given for frames {late}, but the video has {num_frames} frames",
            stacklevel=3,
        )


def check_frame_size(pixels: NDArray[np.uint8], size: tuple[int, int], index: int) -> None:
    """Raise a FrameError unless a frame has the size (H, W) of the masks."""
    if pixels.shape[:2] != size:
        raise FrameError(
            f"frame {index} is {pixels.shape[:2]} (height, width), the masks are {size}; "
            "accepted: one size a video"
        )


def _before_the_first_mask(
    session: TrackingSession,
    frame: NDArray[np.uint8] | VideoError,
    size: tuple[int, int] | None,
    *,
    index: int,
    seconds: float | None,
) -> FrameSegmentation:
    skipped = None
    if isinstance(frame, VideoError):
        if size is None:  # only boxes or clicks are given, and they do not tell the size
            raise frame
        skipped = str(frame)
    else:
        size = size or (frame.shape[0], frame.shape[1])
        check_frame_size(frame, size, index)
    return blank(
        size,
        index=index,
        seconds=seconds,
        keep_probabilities=session.options.keep_probabilities,
        skipped=skipped,
    )


def _with_bar(source: FrameSource, *, show: bool) -> AttemptedFrames:
    with closing(source.attempted()) as frames:
        if not show:
            yield from frames
            return
        from tqdm import tqdm

        with tqdm(frames, total=source.num_frames, unit=" frames") as bar:
            yield from bar
