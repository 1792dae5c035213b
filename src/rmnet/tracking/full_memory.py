"""What is said when memory runs out in the middle of a video."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

from rmnet.errors import DeviceMemoryError, RMNetError

P = ParamSpec("P")
T = TypeVar("T")

_PHRASES = ("can't allocate memory", "out of memory", "not enough memory")  # of RuntimeErrors


def explains_full_memory(method: Callable[P, T]) -> Callable[P, T]:
    """Let a method raise DeviceMemoryError, with what helps, where memory is full."""

    @wraps(method)
    def explained(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(*args, **kwargs)
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, RMNetError) or not _is_full(error):
                raise
            # Its traceback holds the calls inside the network, and so their tensors.
            reason = error.with_traceback(None)
        raise DeviceMemoryError(
            "there is too little memory for this frame, and the session is as it was before it. "
            "Write start(size=...) with fewer px, memory=MemoryPolicy(max_frames=...) with fewer "
            f"frames, or follow fewer objects at a time ({_first_line(reason)})"
        ) from reason

    return explained


def _is_full(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(phrase in str(error) for phrase in _PHRASES)


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
