"""State over time: one video, from its frames to its results."""

from rmnet.tracking.memory import MemoryStats
from rmnet.tracking.session import TrackingSession
from rmnet.tracking.session_file import read_session
from rmnet.tracking.state import SessionState
from rmnet.tracking.step import search_boxes
from rmnet.tracking.stream import (
    OnBadFrame,
    check_on_bad_frame,
    collect_results,
    masks_by_frame,
    segment_frames,
)

__all__ = [
    "MemoryStats",
    "OnBadFrame",
    "SessionState",
    "TrackingSession",
    "check_on_bad_frame",
    "collect_results",
    "masks_by_frame",
    "read_session",
    "search_boxes",
    "segment_frames",
]
