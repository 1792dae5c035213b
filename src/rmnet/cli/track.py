"""`rmnet track`: masks of every frame of a video, written as they come."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import deque
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rmnet.cli.arguments import (
    Subparsers,
    add_command,
    add_method,
    add_network,
    load_segmenter,
    memory_policy,
)

if TYPE_CHECKING:
    from rmnet.cli.track_checkpoint import Checkpoint
    from rmnet.cli.track_output import TrackOutput
    from rmnet.io import FrameSource

_DESCRIPTION = """\
Follow objects through a video, given their masks in the first frame. Masks are written as they
come, in constant memory, so a video may have any length and Ctrl-C keeps what is there. The same
command goes on where it was stopped, however that was, and gives the masks of an unbroken run.

VIDEO is a video file (needs pip install 'rmnet[video]'), a folder of images in natural order
(2.jpg before 10.jpg), or a quoted glob of images.

MASK is an image of ids: 0 background, 1, 2, ... objects, 255 not known; a palette PNG as DAVIS has
them, or a grey one. An image of 0 and 255 alone is one object, number 1.
"""
_EXAMPLES = """\
  rmnet track dog.mp4 dog.png -o masks
  rmnet track frames/ first.png -o masks --overlay overlay.mp4
  rmnet track 'frames/*.jpg' first.png -o masks --object-ids 1,3 --rle masks.json
  rmnet track street.mp4 0:car.png --mask 57:bike.png -o masks      a bike comes in at frame 57
  rmnet track long.mp4 first.png -o masks --size 240 --max-frames 10    faster, less memory
"""


def add_parser(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the subcommand."""
    parser = add_command(
        subparsers,
        "track",
        common,
        summary="follow objects through a video",
        description=_DESCRIPTION,
        examples=_EXAMPLES,
    )
    parser.add_argument("video", metavar="VIDEO", help="video file, folder of images, or glob")
    parser.add_argument(
        "mask",
        metavar="MASK",
        type=_frame_and_path,
        help="image of ids of the first frame; FRAME:PATH if it is of another frame, from 0",
    )
    parser.add_argument(
        "--mask",
        metavar="FRAME:PATH",
        dest="more_masks",
        type=_frame_and_path,
        action="append",
        default=[],
        help="objects to add at a later frame, or to correct there if their ids are tracked "
        "already; may be repeated",
    )
    parser.add_argument(
        "--object-ids",
        metavar="ID,ID,...",
        type=_ids,
        help="which ids of MASK to track (default: all but 0 and 255)",
    )
    output = parser.add_argument_group("output")
    output.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        type=Path,
        required=True,
        help="folder of the masks: palette PNGs of ids, named like the images, or 00000.png and "
        "on; made if need be",
    )
    output.add_argument(
        "--overlay", metavar="FILE.mp4", type=Path, help="write the video with coloured objects"
    )
    output.add_argument(
        "--show-regions",
        action="store_true",
        help="draw in the overlay where each object was looked for",
    )
    output.add_argument(
        "--rle",
        metavar="FILE.json",
        type=Path,
        help="write COCO run lengths, a line a frame (needs pip install 'rmnet[coco]')",
    )
    parser.add_argument(
        "--on-bad-frame",
        choices=("stop", "skip"),
        default="stop",
        help="at a frame that cannot be decoded: stop, keeping what is done, with exit code 1; or "
        "skip it, writing an empty mask and naming it in the summary (default: stop)",
    )
    output.add_argument(
        "--checkpoint",
        metavar="SECONDS|none",
        type=_seconds,
        default=10.0,
        help="how often to save, in DIR/.rmnet-track, what the same command needs to go on should "
        "it be stopped; a twentieth of the time at most (default: 10)",
    )
    output.add_argument(
        "--restart", action="store_true", help="begin anew where an earlier run was stopped"
    )
    output.add_argument(
        "--progress",
        action=argparse.BooleanOptionalAction,
        help="a bar with frames per second (default: if stderr is a terminal)",
    )
    output.add_argument(
        "-q", "--quiet", action="store_true", help="neither bar nor summary, errors only"
    )
    add_method(parser)
    add_network(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Track; what is cheap to check is checked before the weights load."""
    from rmnet.cli.track_checkpoint import Checkpoint
    from rmnet.cli.track_identity import describe_track
    from rmnet.cli.track_input import check_outputs, read_masks
    from rmnet.cli.track_output import TrackOutput
    from rmnet.errors import ConfigError
    from rmnet.io import open_frames
    from rmnet.tracking import segment_frames

    source = open_frames(args.video)
    masks = read_masks([args.mask, *args.more_masks], args.object_ids)
    check_outputs(args)
    segmenter = load_segmenter(args)
    flow = None if args.flow == "tiny" else args.flow
    output = TrackOutput(
        args.output,
        names=source.names,
        overlay=args.overlay,
        frames_per_second=source.frames_per_second,
        show_regions=args.show_regions,
        rle=args.rle,
    )
    checkpoint = Checkpoint(
        args.output,
        describe_track(args, source, masks, segmenter),
        frames=source.paths,
        mask_path=output.mask_path,
        others=[path for path in (args.overlay, args.rle) if path is not None],
        seconds=args.checkpoint,
    )
    if args.restart:
        checkpoint.remove()
    session = checkpoint.load(segmenter) or segmenter.start(
        size=args.size,
        memory=memory_policy(args),
        flow=flow,
        regional=args.regional,
        first_index=min(masks),
    )
    if checkpoint.done and not args.quiet:
        print(
            f"rmnet: going on at frame {checkpoint.done}, where an earlier run saved its state; "
            "--restart begins anew",
            file=sys.stderr,
        )
    progress = sys.stderr.isatty() if args.progress is None else args.progress
    passing: deque[Any] = deque()  # frames that were read and whose results are still to come
    failure: BaseException | None = None
    start = time.perf_counter()
    with checkpoint:
        with output:
            results = segment_frames(
                session,
                _watch(source, passing, checkpoint, output),
                masks,
                progress=progress and not args.quiet,
                keep_probabilities=False,
                on_bad_frame=args.on_bad_frame,
            )
            try:
                with closing(results):
                    for result in results:
                        output.write(passing.popleft(), result)
                        checkpoint.add(result, session)
            except BaseException as error:
                if output.num_frames == 0:
                    raise
                failure = error  # first the files are finished: what was tracked is worth keeping
        if failure is None:
            checkpoint.remove()
    if not args.quiet:
        summary = output.summary(time.perf_counter() - start, stopped=failure is not None)
        print(summary + ("; the same command goes on" if checkpoint.is_saved else ""))
    if failure is not None:
        raise failure
    if output.num_frames <= min(masks):
        raise ConfigError(
            f"the first mask is of frame {min(masks)}, but the video has {output.num_frames} "
            "frames, from 0; so nothing was tracked"
        )
    return 0


def _frame_and_path(text: str) -> tuple[int, str]:
    """`57:bike.png` or, for frame 0, `bike.png`."""
    match = re.fullmatch(r"(\d+):(.+)", text)
    return (int(match[1]), match[2]) if match else (0, text)


def _ids(text: str) -> list[int]:
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not ids with commas between, such as 1,3")
    return [int(piece) for piece in text.split(",")]


def _seconds(text: str) -> float | None:
    if text == "none":
        return None
    if not re.fullmatch(r"\d+(\.\d*)?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds, nor none")
    return float(text)


def _watch(
    source: FrameSource, passing: deque[Any], checkpoint: Checkpoint, output: TrackOutput
) -> FrameSource:
    """The same source, whose frames also go to the output, or into `passing` until tracked."""

    def read() -> Any:  # noqa: ANN401 pairs of frame and time, as the source's own
        past = checkpoint.past()
        with closing(source.attempted()) as frames:
            for index, (frame, seconds) in enumerate(frames):
                if index < checkpoint.done:
                    output.write_past(frame, next(past))
                else:
                    passing.append(frame)
                yield frame, seconds

    return replace(source, read=read)
