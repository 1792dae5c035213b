"""Files of masks beside those of frames: which frame a mask is named like, and mix-ups of both."""

from __future__ import annotations

import glob
from pathlib import Path

from rmnet.errors import MaskError
from rmnet.io.frame_source import FrameSource
from rmnet.io.label_folder import frame_name


def frame_named_like(mask: object, source: FrameSource) -> int | None:
    """Return the number of the frame whose name a mask file has; None if its name says nothing.

    Frames of a video have no names of their own; they count as called 00000, 00001, ..., like the
    masks that are written for them. Frames in memory have none.
    """
    if not isinstance(mask, str | Path):
        return None
    name = Path(mask).stem
    if source.names is not None:
        return source.names.index(name) if name in source.names else None
    is_video = source.frames_per_second is not None and len(source.paths or ()) < 2
    if not is_video or not name.isdecimal() or name != frame_name(int(name), None):
        return None
    is_beyond = source.num_frames is not None and int(name) >= source.num_frames
    return None if is_beyond else int(name)


def check_is_no_frame(mask: object, source: FrameSource) -> None:
    """Raise a MaskError if the file of a mask is also one of the frames.

    A mask that lies in the folder of the images would be tracked as one of them.
    """
    if not isinstance(mask, str | Path):
        return
    path = Path(mask)
    same = [one for one in source.paths or () if one.name == path.name and _is_same(one, path)]
    if not same:
        return
    others = {one.suffix for one in source.paths or () if one not in same}
    remedy = "Move the mask to another folder, or leave it out of the frames"
    if len(others) == 1 and path.suffix not in others:
        images = Path(glob.escape(str(same[0].parent))) / f"*{others.pop()}"
        remedy = f"Write {str(images)!r} for the frames, or move the mask to another folder"
    raise MaskError(
        f"the mask {str(mask)!r} is also one of the frames; accepted: a file that is none. {remedy}"
    )


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # one of them does not exist, which is told when it is read
        return False
