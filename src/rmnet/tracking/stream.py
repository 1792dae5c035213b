"""One video from its frames to its results, frame by frame."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from numbers import Integral
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from rmnet.errors import ConfigError, FrameError, MaskError, VideoError, shown
from rmnet.io import AttemptedFrames, FrameSource, MaskLike, ObjectMasks, parse_mask
from rmnet.results import FrameSegmentation, VideoSegmentation
from rmnet.tracking.segmentation import blank
from rmnet.tracking.session import TrackingSession

OnBadFrame = Literal["stop", "skip"]


def masks_by_frame(
    first_mask: MaskLike | None,
    masks: Mapping[int, MaskLike] | None,
    object_ids: Sequence[int] | None,
) -> dict[int, ObjectMasks]:
    """Parse all masks of a video by frame number, before a bad one could cost any tracking."""
    if masks is not None and not isinstance(masks, Mapping):
        raise ConfigError(
            f"masks is a {type(masks).__name__}; accepted: {{frame number: mask}}. "
            "Write first_mask=... for a mask of frame 0"
        )
    bad = [i for i in masks or () if isinstance(i, bool) or not isinstance(i, Integral) or i < 0]
    if bad:
        raise ConfigError(f"masks has the frame numbers {shown(bad)}; accepted: integers from 0")
    given = {int(i): parse_mask(mask, allow_empty=True) for i, mask in (masks or {}).items()}
    if first_mask is not None:
        if 0 in given:
            raise ConfigError("frame 0 has two masks; write first_mask=... or masks={0: ...}")
        given[0] = parse_mask(first_mask, object_ids=object_ids)
    elif object_ids is not None:
        raise ConfigError("object_ids came without first_mask; write masks={0: {id: mask, ...}}")
    sizes = {i: masks.size for i, masks in sorted(given.items())}
    if len(set(sizes.values())) > 1:
        raise MaskError(f"masks by frame have the sizes {sizes}; accepted: the video's own")
    if not given:
        raise MaskError(
            "there is nothing to track: no mask was given. Write track(frames, first_mask), with "
            "a label map (H, W), a PNG path or {id: bool (H, W)} as the mask"
        )
    return given


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
    given: Mapping[int, ObjectMasks],
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
            error = frame if isinstance(frame, VideoError) else None
            pixels = None if isinstance(frame, VideoError) else frame
            if error is not None and (on_bad_frame == "stop" or index in given):
                raise error
            if index < first:
                result = _before_the_first_mask(
                    session, pixels, given[first].size, index=index, seconds=seconds, error=error
                )
            elif pixels is None:
                result = session.skip(str(error), seconds=seconds)
            else:
                result = session.step(pixels, given.get(index), seconds=seconds)
            yield replace(result, frame=pixels)
    late = sorted(i for i in given if i > index)
    if late:  # an error would throw away what was tracked
        warnings.warn(
            f"masks were given for frames {late}, but the video has {index + 1} frames",
            stacklevel=2,
        )


def _before_the_first_mask(
    session: TrackingSession,
    pixels: NDArray[np.uint8] | None,
    size: tuple[int, int],
    *,
    index: int,
    seconds: float | None,
    error: VideoError | None,
) -> FrameSegmentation:
    if pixels is not None and pixels.shape[:2] != size:
        raise FrameError(
            f"frame {index} is {pixels.shape[:2]} (height, width), the masks are {size}; "
            "accepted: one size a video"
        )
    return blank(
        size,
        index=index,
        seconds=seconds,
        keep_probabilities=session.options.keep_probabilities,
        skipped=None if error is None else str(error),
    )


def _with_bar(source: FrameSource, *, show: bool) -> AttemptedFrames:
    with closing(source.attempted()) as frames:
        if not show:
            yield from frames
            return
        from tqdm import tqdm

        with tqdm(frames, total=source.num_frames, unit=" frames") as bar:
            yield from bar
