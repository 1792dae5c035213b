"""What `rmnet track` is given, checked before anything is begun."""

from __future__ import annotations

import argparse
from pathlib import Path

from rmnet.errors import ConfigError
from rmnet.io import ObjectMasks, parse_mask


def read_masks(
    given: list[tuple[int, str]], object_ids: list[int] | None
) -> dict[int, ObjectMasks]:
    """Every mask now, so that a bad one does not stop the work in the middle."""
    masks: dict[int, ObjectMasks] = {}
    for number, (frame, path) in enumerate(given):
        if frame in masks:
            raise ConfigError(
                f"frame {frame} has two masks; accepted: one a frame. "
                f"Write --mask FRAME:{path}, if it is of another frame"
            )
        size = next(iter(masks.values())).size if masks else None
        ids = object_ids if number == 0 else None  # --object-ids is about MASK
        masks[frame] = parse_mask(path, size=size, object_ids=ids)
    return masks


def check_outputs(args: argparse.Namespace) -> None:
    """Refuse to write over what was given (frames or masks may be PNGs of the same names)."""
    video = Path(args.video).expanduser()
    is_glob = not video.exists()
    masks = [Path(path) for _, path in (args.mask, *args.more_masks)]
    folders = [video.parent if is_glob else video, *(mask.parent for mask in masks)]
    if args.output.resolve() in [folder.resolve() for folder in folders]:
        raise ConfigError(
            f"-o {str(args.output)!r} is the folder of the frames or of a mask, which could be "
            "overwritten; accepted: another folder"
        )
    for option, path in (("--overlay", args.overlay), ("--rle", args.rle)):
        if path is not None and path.resolve() in [given.resolve() for given in (video, *masks)]:
            raise ConfigError(f"{option} {str(path)!r} is an input; accepted: another file")
        made = args.output.absolute()  # by then
        if path is not None and path.absolute().parent != made and not path.parent.is_dir():
            raise ConfigError(
                f"{option}: there is no folder {str(path.parent)!r}; accepted: an existing one"
            )
