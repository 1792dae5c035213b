"""Semi-supervised video object segmentation with RMNet (Xie et al., CVPR 2021).

`RMNetSegmenter` is weights, `TrackingSession` the state of one video, `VideoSegmentation` and
`FrameSegmentation` are what comes out.
"""

from __future__ import annotations

from importlib.metadata import version

from rmnet.config import MemoryPolicy, RMNetConfig
from rmnet.errors import (
    ConfigError,
    FrameError,
    MaskError,
    MissingDependencyError,
    RMNetError,
    SessionError,
    UnknownObjectError,
    VideoError,
    WeightsError,
    WeightsNotFoundError,
)
from rmnet.results import FrameSegmentation, VideoSegmentation
from rmnet.segmenter import RMNetSegmenter
from rmnet.session import TrackingSession

__version__ = version("rmnet")

__all__ = [
    "ConfigError",
    "FrameError",
    "FrameSegmentation",
    "MaskError",
    "MemoryPolicy",
    "MissingDependencyError",
    "RMNetConfig",
    "RMNetError",
    "RMNetSegmenter",
    "SessionError",
    "TrackingSession",
    "UnknownObjectError",
    "VideoError",
    "VideoSegmentation",
    "WeightsError",
    "WeightsNotFoundError",
    "__version__",
]
