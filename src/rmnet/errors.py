"""What can go wrong at the public boundary; each is also the builtin a caller would already catch.

A message says what came, what is accepted and what to write.
"""

from __future__ import annotations

from typing import Any

_LONGEST = 200  # characters of a value in a message


def shown(value: object) -> str:
    """A value in a message; hostile ones may be as long as a file, or take no repr."""
    try:
        text = repr(value)
    except Exception:  # an integer of thousands of digits, lists in lists, somebody's own __repr__
        text = f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."


class RMNetError(Exception):
    """Anything this library raises on purpose.

    Attributes:
        partial: What `RMNetSegmenter.track` had found before the error, a `VideoSegmentation`;
            None of other errors. `track` sets it on errors that are not this library's, too.
    """

    partial: Any = None


class ConfigError(RMNetError, ValueError):
    """A number or a choice in a configuration, or an argument of a call, is not accepted."""


class FrameError(RMNetError, ValueError):
    """A frame has the wrong type, dtype, shape or size."""


class MaskError(RMNetError, ValueError):
    """A mask has the wrong type, dtype, size, ids or contents."""


class VideoError(RMNetError, OSError):
    """A video, a folder of images or one of its frames cannot be read or written."""


class OutputError(RMNetError, OSError):
    """A result cannot be written: no room, no right, or no such folder; `errno` says which."""


class WeightsError(RMNetError, ValueError):
    """Weights were found but do not fit, or are damaged."""


class WeightsNotFoundError(WeightsError, FileNotFoundError):
    """No weights by that name, path, revision, or without network."""

    __str__ = Exception.__str__  # OSError would print its two-argument form


class SessionError(RMNetError, RuntimeError):
    """A call came before what it needs, such as a step before any mask."""


class SessionFileError(RMNetError, OSError):
    """A saved session cannot be read or written, is damaged, or is of other weights."""


class UnknownObjectError(RMNetError, KeyError):
    """An object id that the session does not track."""

    __str__ = Exception.__str__  # KeyError would print the message in quotes


class DeviceMemoryError(RMNetError, MemoryError):
    """The memory of the GPU, or of the machine, is full; the session goes on as it was."""


class MissingDependencyError(RMNetError, ImportError):
    """An optional package is needed for this call and is not installed."""
