"""Frames, masks, label PNGs, video files and drawing: everything that comes in or goes out."""

from rmnet.io.draw import overlay
from rmnet.io.frame_source import FramesLike, FrameSource, open_frames
from rmnet.io.frames import as_frame
from rmnet.io.label_folder import frame_name, read_label_folder, write_label_folder
from rmnet.io.label_map import VOID
from rmnet.io.label_png import label_image, read_label_png, write_label_png
from rmnet.io.masks import MaskLike, ObjectMasks, parse_mask
from rmnet.io.overlay_video import write_overlay_video
from rmnet.io.video_reader import AttemptedFrames
from rmnet.io.video_writer import VideoWriter
from rmnet.io.whole_files import (
    make_folder,
    output_error,
    remove_unfinished,
    written_whole,
)

__all__ = [
    "VOID",
    "AttemptedFrames",
    "FrameSource",
    "FramesLike",
    "MaskLike",
    "ObjectMasks",
    "VideoWriter",
    "as_frame",
    "frame_name",
    "label_image",
    "make_folder",
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
