"""Semi-supervised video object segmentation with RMNet (Xie et al., CVPR 2021).

`RMNetSegmenter` is weights, `TrackingSession` the state of one video, `VideoSegmentation` and
`FrameSegmentation` are what comes out.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

from rmnet.config import MemoryPolicy, RMNetConfig
from rmnet.errors import (
    ConfigError,
    DeviceMemoryError,
    FrameError,
    MaskError,
    MissingDependencyError,
    OutputError,
    RMNetError,
    SessionError,
    SessionFileError,
    UnknownObjectError,
    VideoError,
    WeightsError,
    WeightsNotFoundError,
)

if TYPE_CHECKING:
    from rmnet.results import FrameSegmentation, VideoSegmentation
    from rmnet.segmenter import RMNetSegmenter
    from rmnet.session import TrackingSession

__version__ = version("rmnet")

# These need torch, whose import takes seconds: it waits until one of them is used, so that
# `rmnet --help` answers at once.
_LOADED_WHEN_USED = {
    "FrameSegmentation": "rmnet.results",
    "RMNetSegmenter": "rmnet.segmenter",
    "TrackingSession": "rmnet.session",
    "VideoSegmentation": "rmnet.results",
}

__all__ = [
    "ConfigError",
    "DeviceMemoryError",
    "FrameError",
    "FrameSegmentation",
    "MaskError",
    "MemoryPolicy",
    "MissingDependencyError",
    "OutputError",
    "RMNetConfig",
    "RMNetError",
    "RMNetSegmenter",
    "SessionError",
    "SessionFileError",
    "TrackingSession",
    "UnknownObjectError",
    "VideoError",
    "VideoSegmentation",
    "WeightsError",
    "WeightsNotFoundError",
    "__version__",
]


def __getattr__(name: str) -> object:
    if name not in _LOADED_WHEN_USED:
        raise AttributeError(f"module 'rmnet' has no attribute {name!r}")
    value = getattr(import_module(_LOADED_WHEN_USED[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
