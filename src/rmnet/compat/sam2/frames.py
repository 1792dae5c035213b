"""Any frame of a video, in any order."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from rmnet.errors import ConfigError, VideoError
from rmnet.io import FrameSource, open_frames

_HELD = 32  # decoded frames of a video file that are kept, for reading it backward


class VideoFrames:
    """The frames of a video by number, one or a few held at a time.

    Image files are opened when their frame is asked for. Anything else, such as a video file, is
    decoded from its beginning up to the frame; frames in ascending order are decoded once.

    Attributes:
        num_frames: Number of frames; a video file is decoded once to count them.
        size: Height and width of the first frame in pixels.
    """

    def __init__(self, source: FrameSource) -> None:
        """Look at a source.

        Raises:
            ConfigError: the source cannot be read again.
            VideoError: the source has no frames, or its first frame cannot be decoded.
        """
        if not source.reiterable:
            raise ConfigError(
                "the frames come from an iterator, which gives them only once; accepted: a folder "
                "of images, a video file, an array or a list of frames. Write list(frames), if "
                "they fit into memory"
            )
        self._source = source
        self._decoder: Generator[NDArray[np.uint8], None, None] | None = None
        self._recent: deque[NDArray[np.uint8]] = deque(maxlen=_HELD)
        self._next = 0  # number of the frame that the decoder yields next
        self.num_frames = len(source.paths) if source.paths else sum(1 for _ in source.attempted())
        height, width, _ = self.read(0).shape
        self.size = height, width

    def read(self, index: int) -> NDArray[np.uint8]:
        """Return a frame: uint8 RGB (H, W, 3).

        Raises:
            VideoError: the frame cannot be decoded.
        """
        if self._source.paths:
            return next(_frames(open_frames([self._source.paths[index]])))
        if index < self._next - len(self._recent):
            self._restart()
        if index < self._next:
            return self._recent[index - self._next]
        decoder = self._decoder or _frames(self._source)
        self._decoder = decoder
        try:
            for frame in islice(decoder, index + 1 - self._next):
                self._recent.append(frame)
                self._next += 1
        except BaseException:
            self._restart()  # an exception ends a generator
            raise
        if self._next <= index:
            self._restart()
            raise VideoError(
                f"frame {index} is missing when the video is read again; accepted: a video that "
                "stays the same. Write init_state(video_path) again"
            )
        return self._recent[-1]

    def _restart(self) -> None:
        if self._decoder is not None:
            self._decoder.close()
        self._decoder, self._next = None, 0
        self._recent.clear()


def _frames(source: FrameSource) -> Generator[NDArray[np.uint8], None, None]:
    yield from source
