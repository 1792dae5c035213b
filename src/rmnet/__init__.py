"""Semi-supervised video object segmentation with RMNet (Xie et al., CVPR 2021).

`RMNetSegmenter` holds weights, `TrackingSession` the state of one video; `VideoSegmentation` and
`FrameSegmentation` are the results.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

from rmnet.config import RMNetConfig
from rmnet.errors import RMNetError
from rmnet.options import MemoryPolicy

if TYPE_CHECKING:
    from rmnet.io.frame_source import FramesLike
    from rmnet.io.masks import MaskLike
    from rmnet.results import FrameSegmentation, VideoSegmentation
    from rmnet.segmenter import RMNetSegmenter
    from rmnet.tracking.session import TrackingSession

__version__ = version("rmnet")

# These need torch, which takes seconds to import. They are loaded on first use, so that
# `rmnet --help` answers at once.
_LOADED_ON_USE = {
    "FrameSegmentation": "rmnet.results",
    "FramesLike": "rmnet.io",
    "MaskLike": "rmnet.io",
    "RMNetSegmenter": "rmnet.segmenter",
    "TrackingSession": "rmnet.tracking",
    "VideoSegmentation": "rmnet.results",
}

__all__ = [
    "FrameSegmentation",
    "FramesLike",
    "MaskLike",
    "MemoryPolicy",
    "RMNetConfig",
    "RMNetError",
    "RMNetSegmenter",
    "TrackingSession",
    "VideoSegmentation",
    "__version__",
]


def __getattr__(name: str) -> object:
    if name not in _LOADED_ON_USE:
        raise AttributeError(f"module 'rmnet' has no attribute {name!r}")
    value = getattr(import_module(_LOADED_ON_USE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
