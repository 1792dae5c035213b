"""State over time: one video, from its frames to its results."""

from rmnet.tracking.session import TrackingSession
from rmnet.tracking.session_file import read_session
from rmnet.tracking.step import Flow
from rmnet.tracking.stream import OnBadFrame, all_results, masks_by_frame, segment_frames

__all__ = [
    "Flow",
    "OnBadFrame",
    "TrackingSession",
    "all_results",
    "masks_by_frame",
    "read_session",
    "segment_frames",
]
