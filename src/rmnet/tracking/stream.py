"""One video from its frames to its results, an iteration at a time."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from numbers import Integral
from typing import Any, Literal

from rmnet.errors import ConfigError, FrameError, MaskError, VideoError, shown
from rmnet.io import AttemptedFrames, FrameSource, ObjectMasks, parse_mask
from rmnet.results import FrameSegmentation, VideoSegmentation
from rmnet.tracking.segmentation import blank
from rmnet.tracking.session import TrackingSession

OnBadFrame = Literal["stop", "skip"]


def masks_by_frame(
    first_mask: Any, masks: Mapping[int, Any] | None, object_ids: Sequence[int] | None
) -> dict[int, ObjectMasks]:
    """Every mask by the number of its frame, from 0; at least one.

    Read before the first frame: a bad mask must not cost what was tracked before it.

    Raises:
        ConfigError: a frame number is not one, or frame 0 has two masks.
        MaskError: there is none, or one is not accepted.
    """
    if masks is not None and not isinstance(masks, Mapping):
        raise ConfigError(
            f"masks is a {type(masks).__name__}; accepted: {{frame number: mask}}. "
            "Write first_mask=..., if it is of frame 0"
        )
    numbers = [*(masks or {})]
    bad = [i for i in numbers if isinstance(i, bool) or not isinstance(i, Integral) or i < 0]
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
            "there is nothing to track: no mask was given. Write track(frames, first_mask); a "
            "mask is a label map (H, W), a PNG path or {id: bool (H, W)}"
        )
    return given


def all_results(
    results: Generator[FrameSegmentation, None, None], source: FrameSource
) -> VideoSegmentation:
    """Every result; if an error or Ctrl-C comes, it carries those before it, as `partial`."""
    done: list[FrameSegmentation] = []
    try:
        with closing(results):
            for result in results:
                done.append(replace(result, frame=None))
    except BaseException as error:
        partial = VideoSegmentation(done, source=source, is_whole=False)
        with suppress(AttributeError):  # classes with slots take no attributes
            setattr(error, "partial", partial)  # noqa: B010 of any class, not only ours
        raise
    return VideoSegmentation(done, source=source)


def segment_frames(
    session: TrackingSession,
    source: FrameSource,
    given: dict[int, ObjectMasks],
    *,
    progress: bool,
    keep_probabilities: bool,
    on_bad_frame: OnBadFrame,
) -> Generator[FrameSegmentation, None, None]:
    """Step through a video.

    Args:
        session: Fresh, its first index that of the first mask; or one to go on with, whose
            frames are read once more and passed over.
        source: Of the frames.
        given: Masks by frame, at least one.
        progress: Whether to show a bar.
        keep_probabilities: Whether the session's results carry them.
        on_bad_frame: Whether a frame that cannot be decoded ends the video, or is skipped; one
            for which a mask was given always ends it.

    Yields:
        A result a frame; background before the first mask.

    Raises:
        VideoError: a frame cannot be decoded, and is not skipped.
    """
    first = min(given)
    last = session.frame_index
    size = given[first].size
    index = -1
    # Closed by hand: on an error the traceback would keep the bar, and the video file, open.
    with closing(_with_bar(source, show=progress)) as frames:
        for index, (frame, seconds) in enumerate(frames):
            if last is not None and index <= last:
                continue
            if isinstance(frame, VideoError):
                if on_bad_frame == "stop" or index in given:
                    raise frame
                if index < first:
                    yield blank(
                        size,
                        index=index,
                        seconds=seconds,
                        keep_probabilities=keep_probabilities,
                        skipped=str(frame),
                    )
                else:
                    yield session.skip(str(frame), seconds=seconds)
            elif index < first:
                if frame.shape[:2] != size:
                    raise FrameError(
                        f"frame {index} is {frame.shape[:2]} (height, width), the masks are "
                        f"{size}; accepted: one size a video"
                    )
                result = blank(
                    size, index=index, seconds=seconds, keep_probabilities=keep_probabilities
                )
                yield replace(result, frame=frame)
            else:
                result = session.step(frame, given.get(index), seconds=seconds)
                yield replace(result, frame=frame)
    late = sorted(i for i in given if i > index)
    if late:
        # Not an error: that would throw away what was tracked.
        warnings.warn(
            f"masks were given for frames {late}, but the video has {index + 1} frames",
            stacklevel=2,
        )


def _with_bar(source: FrameSource, *, show: bool) -> AttemptedFrames:
    with closing(source.attempted()) as frames:
        if not show:
            yield from frames
            return
        from tqdm import tqdm

        with tqdm(frames, total=source.num_frames, unit=" frames") as bar:
            yield from bar
