"""One video from its frames to its results, an iteration at a time."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Mapping
from contextlib import closing
from typing import Any

from rmnet.errors import ConfigError, MaskError
from rmnet.results import FrameSegmentation
from rmnet.segmentation import blank
from rmnet.session import TrackingSession
from rmnet.video import FrameSource
from rmnet.video_decoder import TimedFrames


def masks_by_frame(first_mask: Any, masks: Mapping[int, Any] | None) -> dict[int, Any]:
    """Every mask by the number of its frame, from 0; at least one.

    Raises:
        ConfigError: a frame number is not one, or frame 0 has two masks.
        MaskError: there is none.
    """
    given = {} if masks is None else dict(masks)
    bad = [i for i in given if isinstance(i, bool) or not isinstance(i, int) or i < 0]
    if bad:
        raise ConfigError(f"masks has the frame numbers {bad}; accepted: integers from 0")
    if first_mask is not None:
        if 0 in given:
            raise ConfigError("frame 0 has two masks; write first_mask=... or masks={0: ...}")
        given[0] = first_mask
    if not given:
        raise MaskError(
            "there is nothing to track: no mask was given. Write track(frames, first_mask); a "
            "mask is a label map (H, W), a PNG path or {id: bool (H, W)}"
        )
    return given


def segment_frames(
    session: TrackingSession, source: FrameSource, given: dict[int, Any], *, progress: bool
) -> Generator[FrameSegmentation, None, None]:
    """Step through a video.

    Args:
        session: Fresh, its first index that of the first mask.
        source: Of the frames.
        given: Masks by frame, at least one; not yet parsed.
        progress: Whether to show a bar.

    Yields:
        A result a frame; background before the first mask.
    """
    first = min(given)
    index = -1
    # Closed by hand: on an error the traceback would keep the bar, and the video file, open.
    with closing(_with_bar(source, show=progress)) as frames:
        for index, (frame, seconds) in enumerate(frames):
            if index < first:
                yield blank(frame, index=index, seconds=seconds)
            else:
                yield session.step(frame, given.get(index), seconds=seconds)
    late = sorted(i for i in given if i > index)
    if late:
        # Not an error: that would throw away what was tracked.
        warnings.warn(
            f"masks were given for frames {late}, but the video has {index + 1} frames",
            stacklevel=2,
        )


def _with_bar(source: FrameSource, *, show: bool) -> TimedFrames:
    with closing(source.timed()) as frames:
        if not show:
            yield from frames
            return
        from tqdm import tqdm

        with tqdm(frames, total=source.num_frames, unit=" frames") as bar:
            yield from bar
