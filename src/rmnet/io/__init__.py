"""Frames, masks, label PNGs, video files and drawing: everything that comes in or goes out."""

from rmnet.io.coco_masks import needs_size
from rmnet.io.draw import overlay
from rmnet.io.frame_source import FramesLike, FrameSource, open_frames
from rmnet.io.frames import FrameLike, as_frame
from rmnet.io.label_folder import frame_name, read_label_folder, write_label_folder
from rmnet.io.label_map import VOID, as_binary_video, has_void
from rmnet.io.label_png import label_image, read_label_png, write_label_png
from rmnet.io.mask_files import check_is_no_frame, frame_named_like
from rmnet.io.mask_layers import ObjectMasks, Overlap
from rmnet.io.masks import MaskLike, checked_ids, parse_mask
from rmnet.io.overlay_video import write_overlay_video
from rmnet.io.reverse import BackwardFrames, check_can_be_read_again
from rmnet.io.video_reader import AttemptedFrame, AttemptedFrames
from rmnet.io.video_writer import VideoWriter
from rmnet.io.whole_files import (
    make_folder,
    output_error,
    remove_unfinished,
    written_whole,
)

__all__ = [
    "VOID",
    "AttemptedFrame",
    "AttemptedFrames",
    "BackwardFrames",
    "FrameLike",
    "FrameSource",
    "FramesLike",
    "MaskLike",
    "ObjectMasks",
    "Overlap",
    "VideoWriter",
    "as_binary_video",
    "as_frame",
    "check_can_be_read_again",
    "check_is_no_frame",
    "checked_ids",
    "frame_name",
    "frame_named_like",
    "has_void",
    "label_image",
    "make_folder",
    "needs_size",
    "open_frames",
    "output_error",
    "overlay",
    "parse_mask",
    "read_label_folder",
    "read_label_png",
    "remove_unfinished",
    "write_label_folder",
    "write_label_png",
    "write_overlay_video",
    "written_whole",
]
