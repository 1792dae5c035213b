"""How one video is tracked: choices that belong to a session, not to the weights."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Literal, TypeAlias

from rmnet.config import RMNetConfig, check_int
from rmnet.errors import ConfigError, shown

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    import numpy as np
    from numpy.typing import NDArray

Size: TypeAlias = int | Literal["native"] | None
# From two uint8 RGB frames (H, W, 3), current and previous, to the flow (2, H, W) in pixels.
FlowFunction: TypeAlias = "Callable[[NDArray[np.uint8], NDArray[np.uint8]], Any]"
Flow: TypeAlias = "Literal['none'] | FlowFunction | None"


_LONGEST_HISTORY = 100_000  # frames: what the header of a saved session has room for


@dataclass(frozen=True, slots=True)
class MemoryPolicy:
    """Which past frames a session remembers.

    Frame t-1 is always in memory at frame t. It stays if its number is a multiple of `every` or if
    masks were given on it. When the memory is full, one frame is dropped so that the rest stays
    spread over the whole past; the first frame and frames with given masks go last. No DAVIS clip
    is long enough to fill 40 frames, so there the default equals the published method.

    Attributes:
        every: Frames between kept frames. Paper: 5.
        max_frames: Largest number of frames held, the last one included; None for no bound.
    """

    every: int = 5
    max_frames: int | None = 40

    def __post_init__(self) -> None:
        check_int("MemoryPolicy.every", self.every, 1)
        object.__setattr__(self, "every", int(self.every))  # a NumPy integer is no JSON
        if self.max_frames is not None:
            check_int("MemoryPolicy.max_frames", self.max_frames, 2)
            object.__setattr__(self, "max_frames", int(self.max_frames))


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackingOptions:
    """The options of `RMNetSegmenter.track`, `stream` and `start` as one value.

    See `track`, and `start` for `history`.

    Raises:
        ConfigError: a value is not accepted.
    """

    size: Size = None
    memory: MemoryPolicy = MemoryPolicy()
    flow: Flow = None
    regional: bool = False
    keep_probabilities: bool = False
    history: int = 256

    def __post_init__(self) -> None:
        if self.size is not None and self.size != "native":
            if isinstance(self.size, bool) or not isinstance(self.size, Integral) or self.size < 1:
                raise ConfigError(
                    f'size is {shown(self.size)}; accepted: None, "native", or the shorter side '
                    "in pixels"
                )
            object.__setattr__(self, "size", int(self.size))
        if not isinstance(self.memory, MemoryPolicy):
            raise ConfigError(
                f"memory is {shown(self.memory)}; accepted: MemoryPolicy(every=5, max_frames=40)"
            )
        if not (self.flow is None or self.flow == "none" or callable(self.flow)):
            raise ConfigError(f'flow is {shown(self.flow)}; accepted: None, "none", or a function')
        for name in ("regional", "keep_probabilities"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(
                    f"{name} is {shown(getattr(self, name))}; accepted: True or False"
                )
        check_int("history", self.history, 0, _LONGEST_HISTORY)
        object.__setattr__(self, "history", int(self.history))

    @property
    def shorter_side(self) -> int | None:
        """Shorter side inside the network in pixels; None for the video's own size."""
        return self.size if isinstance(self.size, int) else None

    def resolved(self, config: RMNetConfig) -> TrackingOptions:
        """Return these options for the given weights, `size` None replaced by their own.

        Raises:
            ConfigError: `flow` is a function, and these weights are used without flow.
        """
        if callable(self.flow) and not config.search_uses_flow:
            raise ConfigError(
                f"flow is a function, but search_region {config.search_region!r} uses no flow; "
                "accepted: None. Write with_config(search_region='warped')"
            )
        return dataclasses.replace(self, size=config.size if self.size is None else self.size)
