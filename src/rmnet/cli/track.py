"""`rmnet track`: masks of every frame of a video, written one by one."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rmnet.cli.arguments import (
    Subparsers,
    add_command,
    add_method,
    add_network,
    load_segmenter,
    memory_policy,
)
from rmnet.cli.track_input import add_objects, read_annotations, video_or_camera
from rmnet.errors import ConfigError, VideoError

if TYPE_CHECKING:
    from rmnet.io import FrameSource
    from rmnet.results import FrameSegmentation

_DESCRIPTION = """\
Follow objects through a video, given as a mask, boxes or clicks in a frame. Each mask is written
as soon as it is found, in constant memory, so a video may have any length, and Ctrl-C keeps the
masks so far. However a run was stopped, the same command resumes it and gives the masks of an
unbroken run.

VIDEO is a video file (needs pip install 'rmnet[video]'), a folder of images in natural order
(2.jpg before 10.jpg), a quoted glob of images, the number of a camera (0), or the URL of a stream.
Cameras and streams run until Ctrl-C, and cannot be resumed.

MASK is an image of ids: 0 background; 1, 2, ... objects; 255 unknown. It is a palette PNG, as in
DAVIS, or a grey image. White on black is one object, number 1.
"""
_EXAMPLES = """\
  rmnet track dog.mp4 dog.png -o masks
  rmnet track dog.mp4 --box 1:40,30,200,180 -o masks        a box or clicks instead of a mask
  rmnet track frames/ first.png -o masks --overlay overlay.mp4
  rmnet track 'frames/*.jpg' first.png -o masks --object-ids 1,3 --rle masks.json
  rmnet track street.mp4 0:car.png --mask 57:bike.png -o masks      a bike appears at frame 57
  rmnet track dog.mp4 57:dog.png --direction both -o masks      the mask is of a frame in the middle
  rmnet track long.mp4 first.png -o masks --size 240 --max-frames 10    faster, less memory
"""


def add_parser(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the subcommand."""
    summary = "follow objects through a video"
    parser = add_command(subparsers, "track", common, summary, _DESCRIPTION, _EXAMPLES)
    parser.add_argument(
        "video", metavar="VIDEO", help="video file, folder of images, glob, camera or URL"
    )
    add_objects(parser)
    parser.add_argument(
        "--direction",
        choices=("forward", "backward", "both"),
        default="forward",
        help="where to carry masks: to later frames, to earlier frames, or each object of a frame "
        "from the nearest of its masks. backward and both write the first mask when the backward "
        "pass is done, and a stopped run begins anew: --checkpoint none is implied "
        "(default: forward)",
    )
    parser.add_argument(
        "--on-bad-frame",
        choices=("stop", "skip"),
        default="stop",
        help="at a frame that cannot be decoded: stop with exit code 1 and keep the masks so far, "
        "or skip it, write an empty mask and name it in the summary (default: stop)",
    )
    _add_output(parser)
    add_method(parser)
    add_network(parser)
    parser.set_defaults(run=run)


def _add_output(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("output").add_argument
    output_help = (
        "folder of the masks, made if necessary: palette PNGs of ids, named like the images, or "
        "00000.png, 00001.png, ..."
    )
    add("-o", "--output", metavar="DIR", type=Path, required=True, help=output_help)
    overlay_help = "write the video with coloured objects"
    add("--overlay", metavar="FILE.mp4", type=Path, help=overlay_help)
    fps_help = "frames per second of images (default: 24 in the overlay, no times in FILE.json)"
    add("--fps", metavar="N", type=_rate, help=fps_help)
    add("--show-regions", action="store_true", help="draw the search regions in the overlay")
    rle_help = "write COCO run lengths, one line per frame (needs pip install 'rmnet[coco]')"
    add("--rle", metavar="FILE.json", type=Path, help=rle_help)
    checkpoint_help = (
        "how often to save the state to DIR/.rmnet-track, from which the same command resumes a "
        "stopped run; takes at most a twentieth of the time (default: 10)"
    )
    add("--checkpoint", metavar="SECONDS|none", type=_seconds, default=10.0, help=checkpoint_help)
    add("--restart", action="store_true", help="begin anew instead of resuming a stopped run")
    progress_help = "show a bar with frames per second (default: if stderr is a terminal)"
    add("--progress", action=argparse.BooleanOptionalAction, help=progress_help)
    add("-q", "--quiet", action="store_true", help="print neither bar nor summary")


def run(args: argparse.Namespace) -> int:
    """Track; whatever is cheap to check is checked before the weights are loaded."""
    from rmnet.cli.track_output import TrackOutput, check_outputs
    from rmnet.cli.track_resume import Checkpoint
    from rmnet.io import open_frames
    from rmnet.tracking import check_direction, segment_directions, segment_frames

    source = open_frames(video_or_camera(args.video), fps=args.fps)
    check_direction(args.direction, source)
    if args.direction != "forward":
        args.checkpoint = None
    given = read_annotations(args, source)
    check_outputs(args)
    segmenter = load_segmenter(args)
    checkpoint = Checkpoint(args, source, segmenter)
    if args.restart:
        checkpoint.remove()
    start_session = partial(
        segmenter.start,
        size=args.size,
        memory=memory_policy(args),
        flow=None if args.flow == "tiny" else args.flow,
        regional=args.regional,
        history=0,
    )
    session = checkpoint.load() or start_session(first_index=min(given))
    failure: BaseException | None = None
    start = time.perf_counter()
    with checkpoint.recording():
        with ExitStack() as files:
            output = TrackOutput(args, source, files)
            past = checkpoint.results(output.mask_path)
            for result in past if args.overlay is None else _with_frames(past, source):
                output.write_past(result)
            if checkpoint.done and not args.quiet:
                resuming = f"rmnet: resuming at frame {checkpoint.done}; --restart begins anew"
                print(resuming, file=sys.stderr)
            progress = sys.stderr.isatty() if args.progress is None else args.progress
            bar, bad = progress and not args.quiet, args.on_bad_frame
            if args.direction == "forward":
                results = segment_frames(session, source, given, progress=bar, on_bad_frame=bad)
            else:
                results = segment_directions(
                    start_session,
                    source,
                    given,
                    direction=args.direction,
                    progress=bar,
                    on_bad_frame=bad,
                )
            try:
                with closing(results):
                    for result in results:
                        output.write(result)
                        checkpoint.add(result, session)
            except BaseException as error:
                if output.num_frames == 0:
                    raise
                failure = error  # raised once the files are finished: their contents are worth it
        if failure is None:
            checkpoint.remove()
    if not args.quiet:
        pace = (time.perf_counter() - start) / max(1, output.num_frames - checkpoint.done)
        summary = output.summary(pace, stopped=failure is not None)
        print(summary + ("; the same command resumes it" if checkpoint.is_saved() else ""))
    if failure is not None:
        raise failure
    if output.num_frames <= min(given):
        raise ConfigError(
            f"the first object is given in frame {min(given)}, but the video has "
            f"{output.num_frames} frames, from 0; so nothing was tracked"
        )
    return 0


def _with_frames(
    results: Iterable[FrameSegmentation], source: FrameSource
) -> Iterator[FrameSegmentation]:
    """Yield results with their frames, from the first on, read once more."""
    with closing(source.attempted()) as frames:
        for result, (frame, _) in zip(results, frames, strict=False):
            yield result if isinstance(frame, VideoError) else replace(result, frame=frame)


def _rate(text: str) -> float:
    if not re.fullmatch(r"\d+(\.\d*)?", text) or not float(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of frames per second")
    return float(text)


def _seconds(text: str) -> float | None:
    if text == "none":
        return None
    if not re.fullmatch(r"\d+(\.\d*)?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number of seconds nor none")
    return float(text)
