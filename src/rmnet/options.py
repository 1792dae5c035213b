"""How one video is tracked: the choices that belong to a session, not to the weights."""

from __future__ import annotations

from dataclasses import dataclass

from rmnet.config import check_int


@dataclass(frozen=True, slots=True)
class MemoryPolicy:
    """Which past frames a session remembers.

    Frame t-1 is always remembered at frame t. It stays for good when its number is a multiple of
    `every`, or when objects were given on it. When `max_frames` are held and one more comes, one
    is dropped such that the rest stays spread over the whole past; the first frame and frames
    with given masks go last. 40 cannot fire on DAVIS (127 frames at most), so the default equals
    the published method there.

    Attributes:
        every: Frames between kept frames. Paper: 5.
        max_frames: Frames held at most, the last one included; None for no bound.
    """

    every: int = 5
    max_frames: int | None = 40

    def __post_init__(self) -> None:
        check_int("MemoryPolicy.every", self.every, minimum=1)
        if self.max_frames is not None:
            check_int("MemoryPolicy.max_frames", self.max_frames, minimum=2)
