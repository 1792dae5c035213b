"""What `rmnet track` is told about the objects: masks, boxes and clicks, by frame."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rmnet.errors import ConfigError

if TYPE_CHECKING:
    from rmnet.io import FrameSource, ObjectMasks
    from rmnet.tracking import Annotation


def add_objects(parser: argparse.ArgumentParser) -> None:
    """Add MASK, `--mask`, `--box`, `--point` and `--object-ids`."""
    mask_help = (
        "ids in the first frame, or in the frame whose name the file has; FRAME:PATH to say which, "
        "counted from 0. May be left out with --box, --point or --mask"
    )
    parser.add_argument("mask", metavar="MASK", nargs="?", type=_frame_and_path, help=mask_help)
    group = parser.add_argument_group("objects; each option may be repeated")
    add = group.add_argument
    more_help = "objects to add at a later frame, or to correct there if they are already tracked"
    repeated: dict[str, Any] = {"action": "append", "default": []}
    add(
        "--mask",
        metavar="FRAME:PATH",
        dest="more_masks",
        type=_frame_and_path,
        help=more_help,
        **repeated,
    )
    box_help = (
        "box around an object that has no mask, px, from its upper left to its lower right corner; "
        "in the first frame, unless FRAME is given"
    )
    add(
        "--box",
        metavar="[FRAME:]ID:X0,Y0,X1,Y1",
        type=_box,
        help=box_help,
        **repeated,
    )
    point_help = "click on an object that has no mask, px; with ',out' a click beside the object"
    add(
        "--point",
        metavar="[FRAME:]ID:X,Y[,out]",
        type=_point,
        help=point_help,
        **repeated,
    )
    ids_help = "ids of MASK to track (default: all but 0 and 255)"
    parser.add_argument("--object-ids", metavar="ID,ID,...", type=_ids, help=ids_help)


def read_annotations(args: argparse.Namespace, source: FrameSource) -> dict[int, Annotation]:
    """Return all that is given, by frame, so that a mistake is found before any work is done.

    Stores frame and path of each mask in `args.masks`.
    """
    from rmnet.tracking import joined_by_frame

    args.masks = _masks_and_frames(args, source)
    if args.object_ids is not None and not args.masks:
        raise ConfigError(
            "--object-ids came without a MASK; accepted: both, or neither. Leave it out: --box and "
            "--point say their ids"
        )
    masks = _read_masks(args)
    boxes: dict[int, dict[int, Any]] = {}
    for frame, object_id, box in args.box:
        if object_id in boxes.setdefault(frame, {}):
            corners = ",".join(f"{number:g}" for number in box)
            raise ConfigError(
                f"object {object_id} has two boxes in frame {frame}; accepted: one. Write "
                f"--box {frame}:{object_id + 1}:{corners} for another object"
            )
        boxes[frame][object_id] = box
    points: dict[int, dict[int, list[Any]]] = {}
    for frame, object_id, point in args.point:
        points.setdefault(frame, {}).setdefault(object_id, []).append(point)
    annotations = joined_by_frame(masks, boxes, points)
    if not annotations:
        raise ConfigError(
            "there is nothing to track; accepted: a MASK, or the options --mask, --box or --point. "
            "Write --box 1:40,30,200,180 for a box around object 1 in the first frame"
        )
    return annotations


def _masks_and_frames(args: argparse.Namespace, source: FrameSource) -> list[tuple[int, str]]:
    """Return frame and path of each mask; without a FRAME: the one it is named like, else 0."""
    from rmnet.io import check_is_no_frame, frame_named_like

    found: list[tuple[int, str]] = []
    for frame, path in (*([] if args.mask is None else [args.mask]), *args.more_masks):
        check_is_no_frame(path, source)
        named = frame_named_like(path, source) if frame is None else None
        if named and source.names is None:  # its own frame, or the first one of a longer video?
            raise ConfigError(
                f"{path!r} is named like frame {named} of a video, whose frames have no names; "
                f"accepted: FRAME:PATH. Write {named}:{path}, or 0:{path} for the first frame"
            )
        if named and not args.quiet:
            note = f"{path} is named like frame {named}, and taken for its mask; 0:{path} for"
            print(f"rmnet: {note} the first frame", file=sys.stderr)
        found.append((named or frame or 0, path))
    return found


def _read_masks(args: argparse.Namespace) -> dict[int, ObjectMasks]:
    from rmnet.io import parse_mask

    masks: dict[int, ObjectMasks] = {}
    for frame, path in args.masks:
        if frame in masks:
            raise ConfigError(
                f"frame {frame} has two masks; accepted: one per frame. "
                f"Write --mask {frame + 1}:{path}, if it is of frame {frame + 1}"
            )
        size = next(iter(masks.values())).size if masks else None
        ids = None if masks else args.object_ids  # --object-ids is about MASK
        masks[frame] = parse_mask(path, size=size, object_ids=ids)
    return masks


def video_or_camera(text: str) -> str | int:
    """Return VIDEO as `open_frames` takes it: digits are a camera, unless a file has that name."""
    return int(text) if text.isdecimal() and not Path(text).exists() else text


def _frame_and_path(text: str) -> tuple[int | None, str]:
    """Parse `57:bike.png`, or `bike.png`, which says no frame."""
    match = re.fullmatch(r"(\d+):(.+)", text)
    return (int(match[1]), match[2]) if match else (None, text)


def _box(text: str) -> tuple[int, int, tuple[float, ...]]:
    """Parse `57:1:40,30,200,180`, or `1:40,30,200,180`, which is of frame 0."""
    frame, object_id, rest = _frame_and_id(text, "a box such as 1:40,30,200,180")
    numbers = _numbers(rest)
    if len(numbers) != 4:
        raise argparse.ArgumentTypeError(f"{text!r} is not a box such as 1:40,30,200,180")
    return frame, object_id, tuple(numbers)


def _point(text: str) -> tuple[int, int, tuple[float, float, bool]]:
    """Parse `57:1:120,90`, or `1:120,90,out`, which is of frame 0 and beside the object."""
    frame, object_id, rest = _frame_and_id(text, "a click such as 1:120,90 or 1:120,90,out")
    is_out = rest.endswith(",out")
    numbers = _numbers(rest.removesuffix(",out"))
    if len(numbers) != 2:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a click such as 1:120,90 or 1:120,90,out"
        )
    return frame, object_id, (numbers[0], numbers[1], not is_out)


def _frame_and_id(text: str, wanted: str) -> tuple[int, int, str]:
    match = re.fullmatch(r"(?:(\d+):)?(\d+):([^:]+)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
    return int(match[1] or 0), int(match[2]), match[3]


def _numbers(text: str) -> list[float]:
    pieces = text.split(",")
    is_number = re.compile(r"-?\d+(\.\d*)?").fullmatch
    return [float(piece) for piece in pieces] if all(map(is_number, pieces)) else []


def _ids(text: str) -> list[int]:
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of ids such as 1,3")
    return [int(piece) for piece in text.split(",")]
