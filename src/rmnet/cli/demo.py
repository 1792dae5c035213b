"""`rmnet demo`: track the objects of a clip made on the spot."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path

from rmnet.cli.arguments import Subparsers, add_command, add_network, load_segmenter, positive

_DESCRIPTION = """\
Make a clip of three textured objects that cross each other, one leaving the frame and coming
back; track them from their first masks; and score the result. Needs no files and no network.
"""
_EXAMPLES = """\
  rmnet demo                      write to ./rmnet-demo
  rmnet demo --seed 3 -o again    other textures
  rmnet demo --size 128           smaller inside the network: faster, coarser
"""


def add_parser(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the subcommand."""
    parser = add_command(
        subparsers,
        "demo",
        common,
        summary="make a clip, track it, and score the result",
        description=_DESCRIPTION,
        examples=_EXAMPLES,
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        type=Path,
        default=Path("rmnet-demo"),
        help="folder of frames/, masks/ and overlay.mp4 (default: ./rmnet-demo)",
    )
    parser.add_argument(
        "--seed", metavar="N", type=int, default=0, help="seed of the textures (default: 0)"
    )
    parser.add_argument(
        "--frames", metavar="N", type=positive, default=60, help="number of frames (default: 60)"
    )
    add_network(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Make, track, score and write the clip; return the exit code."""
    from PIL import Image

    from rmnet.demo import make_clip, score
    from rmnet.errors import MissingDependencyError

    segmenter = load_segmenter(args)
    clip = make_clip(args.seed, num_frames=args.frames)
    frames, masks, video = (args.output / name for name in ("frames", "masks", "overlay.mp4"))
    frames.mkdir(parents=True, exist_ok=True)
    for index, frame in enumerate(clip.frames):
        Image.fromarray(frame).save(frames / f"{index:05d}.png")

    start = time.perf_counter()
    result = segmenter.track(
        clip.frames, clip.labels[0], size=args.size, progress=sys.stderr.isatty()
    )
    seconds = (time.perf_counter() - start) / len(result)
    result.save_masks(masks)
    try:
        overlay = str(result.save_video(video, clip.frames))
    except MissingDependencyError as error:
        overlay = f"left out: {error}"

    scores = score(result.labels, clip.labels)
    print("object   mean J   frames")
    for object_id, mean, num_frames in scores:
        print(f"{object_id:<6}   {mean:6.3f}   {num_frames:6}")
    if scores:
        print(f"all      {sum(one.jaccard for one in scores) / len(scores):6.3f}")
    _, height, width = clip.labels.shape
    print(f"\n{seconds:.3f} s a frame ({len(result)} of {height}x{width}, on {segmenter.device})")
    print(f"frames   {frames}\nmasks    {masks}\noverlay  {overlay}")
    first, again = masks / "00000.png", args.output / "again"
    command = ["rmnet", "track", str(frames), str(first), "-o", str(again)]
    print(f"\nThe same from files:  {shlex.join(command)}")
    return 0
