"""The frames of a video from later to earlier ones, a few at a time."""

from __future__ import annotations

import zlib
from collections.abc import Generator
from contextlib import closing
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from rmnet.errors import ConfigError, VideoError
from rmnet.io.frame_source import FrameSource
from rmnet.io.video_reader import AttemptedFrame

CHUNK = 32  # largest number of frames held at a time
# Where to look for a key frame before a chunk, in seconds: some containers are searched by the time
# at which a frame is decoded, which is earlier than that at which it is shown.
_MARGINS = (0.0, 2.0)


class BackwardFrames:
    """The first frames of a source, to be read from later to earlier ones.

    Numbers, times and pixels are those of `FrameSource.attempted`. A video file is first decoded
    once, keeping the time and a checksum of each frame. Then its chunks are searched for, and
    compared with these: a chunk that is not found exactly is decoded from the beginning of the
    file, which is slow, but right. So are the chunks of other sources without random access.

    Attributes:
        num_frames: Number of frames, at most `limit`.
    """

    def __init__(self, source: FrameSource, limit: int) -> None:
        """Look at the first `limit` frames of a source, or at all if there are fewer.

        Raises:
            ConfigError: the source cannot be read again.
            VideoError: the source cannot be read, or is empty.
        """
        check_can_be_read_again(source)
        self._source = source
        self._index: list[tuple[int | VideoError, float | None]] = []  # checksum or error; time
        if source.at is not None and source.num_frames:
            self.num_frames = min(limit, source.num_frames)
            return
        with closing(source.attempted()) as frames:
            for frame, seconds in islice(frames, limit):
                found: int | VideoError = 0
                if isinstance(frame, VideoError):
                    found = frame
                elif source.between is not None:  # a checksum is of use in a search only
                    found = _checksum(frame)
                self._index.append((found, seconds))
        self.num_frames = len(self._index)

    def read(self, first: int, last: int) -> Generator[AttemptedFrame, None, None]:
        """Yield the frames from number `last` down to number `first`."""
        for stop in range(last + 1, first, -CHUNK):
            start = max(first, stop - CHUNK)
            if self._source.at is not None:
                yield from map(self._source.at, reversed(range(start, stop)))
                continue
            chunk = self._search(start, stop) or self._from_the_beginning(start, stop)
            while chunk:
                yield chunk.pop()  # so that the caller holds the only reference

    def _search(self, start: int, stop: int) -> list[AttemptedFrame] | None:
        """Return a part of a video by searching for its times; None unless all of it is right."""
        index = dict(enumerate(self._index[start:stop]))
        good = {i: seconds for i, (one, seconds) in index.items() if isinstance(one, int)}
        times = {seconds: i for i, seconds in good.items() if seconds is not None}
        if self._source.between is None or not times or len(times) < len(good):
            return None
        for margin in _MARGINS:
            found: dict[int, AttemptedFrame] = {}
            try:
                with closing(self._source.between(min(times), max(times), margin=margin)) as frames:
                    for frame, seconds in frames:
                        i = times.get(seconds) if seconds is not None else None
                        if isinstance(frame, VideoError) or i is None or i in found:
                            break
                        if _checksum(frame) != index[i][0]:
                            break
                        found[i] = (frame, seconds)
            except VideoError:
                continue
            if len(found) == len(good):
                return [
                    found[i] if isinstance(one, int) else (one, seconds)
                    for i, (one, seconds) in index.items()
                ]
        return None

    def _from_the_beginning(self, start: int, stop: int) -> list[AttemptedFrame]:
        with closing(self._source.attempted()) as frames:
            chunk = list(islice(frames, start, stop))
        if len(chunk) < stop - start:
            raise VideoError(
                f"frames {start + len(chunk)} to {stop - 1} are missing when the video is read "
                "again; accepted: frames that stay the same. Write "
                "list(rmnet.io.open_frames(frames))"
            )
        return chunk


def _checksum(frame: NDArray[np.uint8]) -> int:
    # FFmpeg pads the rows of some widths, and PyAV may show them in place.
    return zlib.crc32(np.ascontiguousarray(frame).data)


def check_can_be_read_again(source: FrameSource) -> None:
    """Raise a ConfigError for a source whose frames come only once, such as a generator."""
    if not source.reiterable:
        raise ConfigError(
            "the frames come from an iterator, which gives them once and in its own order; "
            "accepted, to track backward: a video file, images, an array or a list of frames. "
            "Write list(frames), if they fit into memory"
        )
