"""What comes in and goes out: frames, masks, label PNGs, video files, drawing."""

from rmnet.io.draw import overlay
from rmnet.io.frame_source import FramesLike, FrameSource, open_frames
from rmnet.io.frames import as_frame
from rmnet.io.label_map import VOID
from rmnet.io.label_png import label_image, read_label_png, write_label_png
from rmnet.io.masks import MaskLike, ObjectMasks, parse_mask
from rmnet.io.saving import (
    make_folder,
    output_error,
    remove_unfinished,
    unfinished_path,
    written_whole,
)
from rmnet.io.video_reader import AttemptedFrames
from rmnet.io.video_writer import VideoWriter

__all__ = [
    "VOID",
    "AttemptedFrames",
    "FrameSource",
    "FramesLike",
    "MaskLike",
    "ObjectMasks",
    "VideoWriter",
    "as_frame",
    "label_image",
    "make_folder",
    "open_frames",
    "output_error",
    "overlay",
    "parse_mask",
    "read_label_png",
    "remove_unfinished",
    "unfinished_path",
    "write_label_png",
    "written_whole",
]
