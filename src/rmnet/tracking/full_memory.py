"""The error for memory that runs out in the middle of a video."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

from rmnet.errors import DeviceMemoryError, RMNetError

P = ParamSpec("P")
T = TypeVar("T")

# RuntimeErrors that mean the same as torch.OutOfMemoryError.
_PHRASES = ("can't allocate memory", "out of memory", "not enough memory")


def explains_full_memory(method: Callable[P, T]) -> Callable[P, T]:
    """Let a session's method raise DeviceMemoryError, with a remedy, when memory is full."""

    @wraps(method)
    def explained(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(*args, **kwargs)
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, RMNetError) or not _is_full(error):
                raise
            # Without its traceback, which keeps the network's tensors alive.
            cause = error.with_traceback(None)
        reason = str(cause).partition("\n")[0] or type(cause).__name__
        raise DeviceMemoryError(
            f"memory ran out in this frame ({reason}); the session is as it was before. Write "
            "start(size=...) with a smaller size, memory=MemoryPolicy(max_frames=...) with fewer "
            "frames, or track fewer objects at a time"
        ) from cause

    return explained


def _is_full(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(phrase in str(error) for phrase in _PHRASES)
