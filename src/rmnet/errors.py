"""The errors of the library. Each is also the builtin that a caller would catch anyway.

A message says what came, what is accepted, and what to write instead.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "ConfigError",
    "DeviceMemoryError",
    "FrameError",
    "MaskError",
    "MissingDependencyError",
    "OutputError",
    "RMNetError",
    "SessionError",
    "SessionFileError",
    "UnknownObjectError",
    "VideoError",
    "WeightsError",
    "WeightsNotFoundError",
]

_LONGEST = 200  # characters of a value in a message


def shown(value: object) -> str:
    """Format a value for a message, however long or unprintable it is."""
    try:
        text = repr(value)
    except Exception:  # an integer of thousands of digits, deep nesting, a broken __repr__
        text = f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."


class RMNetError(Exception):
    """Base class of all errors that the library raises.

    Attributes:
        partial: A `VideoSegmentation` of the frames before the error, if `RMNetSegmenter.track`
            raised it; else None. `track` also sets it on exceptions of other classes.
    """

    partial: Any = None


class ConfigError(RMNetError, ValueError):
    """A field of a configuration, an option or an argument is not accepted."""


class FrameError(RMNetError, ValueError):
    """A frame has the wrong type, dtype, shape or size."""


class MaskError(RMNetError, ValueError):
    """A mask has the wrong type, dtype, size, ids or contents."""


class VideoError(RMNetError, OSError):
    """A video, a folder of images or one of its frames cannot be read or written."""


class OutputError(RMNetError, OSError):
    """A file cannot be written: no space, no permission, no such folder. `errno` says which."""


class WeightsError(RMNetError, ValueError):
    """Weights were found, but are damaged or do not fit their configuration."""


class WeightsNotFoundError(WeightsError, FileNotFoundError):
    """There are no weights by that name, path or revision, or the hub cannot be reached."""

    __str__ = Exception.__str__  # OSError would print its two-argument form


class SessionError(RMNetError, RuntimeError):
    """A call on a session came too early, such as a step before any mask, or goes back too far."""


class SessionFileError(RMNetError, OSError):
    """A saved session cannot be read: it is missing, damaged, or was saved on other weights."""


class UnknownObjectError(RMNetError, KeyError):
    """An object id is not tracked."""

    __str__ = Exception.__str__  # KeyError would print the message in quotes


class DeviceMemoryError(RMNetError, MemoryError):
    """Memory ran out, on the GPU or on the machine. The session is as it was before the call."""


class MissingDependencyError(RMNetError, ImportError):
    """An optional package that this call needs is not installed."""
