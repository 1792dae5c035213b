"""`rmnet demo`: track objects in a clip made on the spot."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rmnet.cli.arguments import (
    Subparsers,
    add_command,
    add_network,
    load_segmenter,
    positive,
)

if TYPE_CHECKING:
    from rmnet.demo import ObjectScore

_DESCRIPTION = """\
Make a clip of three textured objects that cross each other, one leaving the frame and coming
back; track them from the masks of the first frame; and say how well that went. Needs no files
and no network.
"""
_EXAMPLES = """\
  rmnet demo                      writes to ./rmnet-demo
  rmnet demo --seed 3 -o again    other textures
  rmnet demo --size 128           smaller inside the network: faster, coarser
"""


def add_parser(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the subcommand."""
    parser = add_command(
        subparsers,
        "demo",
        common,
        summary="make a clip, track it, and say how well that went",
        description=_DESCRIPTION,
        examples=_EXAMPLES,
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        type=Path,
        default=Path("rmnet-demo"),
        help="where frames/, masks/ and overlay.mp4 go (default: ./rmnet-demo)",
    )
    parser.add_argument(
        "--seed", metavar="N", type=int, default=0, help="of the clip's textures (default: 0)"
    )
    parser.add_argument(
        "--frames", metavar="N", type=positive, default=60, help="frames (default: 60)"
    )
    add_network(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Make, track, score and write."""
    from PIL import Image

    from rmnet.demo import make_clip, score
    from rmnet.errors import MissingDependencyError
    from rmnet.results import VideoSegmentation

    segmenter = load_segmenter(args)
    clip = make_clip(args.seed, num_frames=args.frames)
    frames, masks, video = (args.output / name for name in ("frames", "masks", "overlay.mp4"))
    frames.mkdir(parents=True, exist_ok=True)
    for index, frame in enumerate(clip.frames):
        Image.fromarray(frame).save(frames / f"{index:05d}.png")

    start = time.perf_counter()
    result: VideoSegmentation = segmenter.track(
        clip.frames, clip.labels[0], size=args.size, progress=sys.stderr.isatty()
    )
    seconds = (time.perf_counter() - start) / len(result)
    result.save_masks(masks)
    try:
        overlay = str(result.save_video(video, clip.frames))
    except MissingDependencyError as error:
        overlay = f"left out: {error}"

    print(_table(score(result.labels, clip.labels)))
    _, height, width = clip.labels.shape
    print(f"\n{seconds:.3f} s a frame ({len(result)} of {height}x{width}, on {segmenter.device})")
    print(f"frames   {frames}\nmasks    {masks}\noverlay  {overlay}")
    first, again = masks / "00000.png", args.output / "again"
    command = ["rmnet", "track", str(frames), str(first), "-o", str(again)]
    print(f"\nThe same on files:  {shlex.join(command)}")
    return 0


def _table(scores: list[ObjectScore]) -> str:
    """J of each object, where 1 is perfect, and whether it was found again."""
    lines = ["object   mean J   frames"]
    for one in scores:
        line = f"{one.object_id:<6}   {one.jaccard:6.3f}   {one.frames:6}"
        if one.returned_at is not None:
            found = "not found again" if one.found_at is None else f"found in frame {one.found_at}"
            line += f"   left; came back in frame {one.returned_at}, {found}"
        lines.append(line)
    if scores:
        lines.append(f"all      {sum(one.jaccard for one in scores) / len(scores):6.3f}")
    return "\n".join(lines)
