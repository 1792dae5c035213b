"""State over time: one video, from its frames to its results."""

from rmnet.tracking.annotation import Annotation
from rmnet.tracking.annotations import ByFrame, annotations_by_frame, joined_by_frame
from rmnet.tracking.directions import check_direction, segment_directions
from rmnet.tracking.memory import MemoryStats
from rmnet.tracking.plan import Direction
from rmnet.tracking.session import TrackingSession
from rmnet.tracking.session_file import read_session
from rmnet.tracking.state import SessionState
from rmnet.tracking.step import search_boxes
from rmnet.tracking.stream import (
    OnBadFrame,
    check_on_bad_frame,
    collect_results,
    segment_frames,
)

__all__ = [
    "Annotation",
    "ByFrame",
    "Direction",
    "MemoryStats",
    "OnBadFrame",
    "SessionState",
    "TrackingSession",
    "annotations_by_frame",
    "check_direction",
    "check_on_bad_frame",
    "collect_results",
    "joined_by_frame",
    "read_session",
    "search_boxes",
    "segment_directions",
    "segment_frames",
]
