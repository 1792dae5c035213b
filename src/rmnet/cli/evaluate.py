"""`rmnet eval`: a benchmark as one command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from functools import partial
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
    from rmnet.evaluation import Benchmark, ClipResult

_DESCRIPTION = """\
Score a network on a data set, or masks that are there already.
"""
_EXAMPLES = """\
  rmnet eval davis DAVIS -o out                         DAVIS 2017 val
  rmnet eval davis DAVIS --year 2016 -o out-2016        all objects as one
  rmnet eval youtube-vos YouTubeVOS -o out              valid; out/Annotations is a submission
  rmnet eval folder out DAVIS/Annotations/480p          masks of any method
"""
_RESUME = """\

A clip that fails is named, scores 0 and makes the exit code 1; the same command tries it again. An
interrupted run goes on where it stopped when it is given the same options and folder:
OUT/results.json has what is done, with versions, device, dtype and sha256 of weights and config.
"""
_DAVIS = f"""\
J and F of DAVIS 2016 (all objects as one) or 2017 (object by object), first and last frame left
out. Predictions go to OUT/CLIP/FRAME.png.
{_RESUME}"""
_YOUTUBE_VOS = f"""\
J and F of YouTube-VOS over the annotated frames of each object after its first; means over the
objects of seen and of unseen categories, and of these four. Where only first masks are public
(valid), nothing is scored: zip OUT/Annotations, and submit it. Predictions are of the frames in
meta.json.
{_RESUME}"""
_FOLDER = """\
Compare label PNGs in the way of DAVIS: folders of clips, or two folders of PNGs. Clips, frames and
objects are those of TRUTH; a clip that PREDICTIONS lacks scores 0, and the exit code is 1.
"""


def add_parser(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the subcommand and its own subcommands."""
    parser = add_command(
        subparsers,
        "eval",
        common,
        summary="score a network on DAVIS or YouTube-VOS, or masks that are there",
        description=_DESCRIPTION,
        examples=_EXAMPLES,
    )
    benchmarks = parser.add_subparsers(title="benchmarks", metavar="BENCHMARK", required=True)
    davis = add_command(
        benchmarks,
        "davis",
        common,
        summary="DAVIS 2016 or 2017",
        description=_DAVIS,
        examples="  rmnet eval davis DAVIS -o out\n"
        "  rmnet eval davis DAVIS --year 2016 --clips bear,tennis --device cuda -o some\n",
    )
    davis.add_argument("root", metavar="ROOT", type=Path, help="holds JPEGImages, Annotations, ...")
    _add_year(davis)
    davis.add_argument("--split", default="val", help="list of clips in ImageSets (default: val)")
    davis.add_argument("--resolution", default="480p", help="name of the folders (default: 480p)")
    _add_run(davis)
    davis.set_defaults(run=_run_davis)
    youtube_vos = add_command(
        benchmarks,
        "youtube-vos",
        common,
        summary="YouTube-VOS",
        description=_YOUTUBE_VOS,
        examples="  rmnet eval youtube-vos YouTubeVOS -o out\n"
        "  rmnet eval youtube-vos YouTubeVOS --split valid --unseen unseen.json -o out\n",
    )
    youtube_vos.add_argument("root", metavar="ROOT", type=Path, help="holds valid and train")
    youtube_vos.add_argument("--split", default="valid", help="folder in ROOT (default: valid)")
    youtube_vos.add_argument(
        "--unseen",
        metavar="FILE.json",
        type=Path,
        help="list of unseen categories (default: all that ROOT/train/meta.json lacks)",
    )
    _add_run(youtube_vos)
    youtube_vos.set_defaults(run=_run_youtube_vos)
    folder = add_command(
        benchmarks,
        "folder",
        common,
        summary="masks that are there already",
        description=_FOLDER,
        examples="  rmnet eval folder out DAVIS/Annotations/480p\n"
        "  rmnet eval folder masks DAVIS/Annotations/480p/bear -o scores\n",
    )
    folder.add_argument("predictions", metavar="PREDICTIONS", type=Path, help="label PNGs")
    folder.add_argument("truth", metavar="TRUTH", type=Path, help="label PNGs")
    _add_year(folder)
    folder.add_argument(
        "-o", "--output", metavar="OUT", type=Path, help="write results.json into this folder"
    )
    folder.set_defaults(run=_run_folder)


def _add_year(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--year",
        type=int,
        choices=(2016, 2017),
        default=2017,
        help="2016: all objects as one (default: 2017)",
    )


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--clips", metavar="NAME,...", type=lambda text: text.split(","), help="default: all"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        type=Path,
        required=True,
        help="folder of predictions and results.json; made if need be",
    )
    parser.add_argument(
        "--progress",
        action=argparse.BooleanOptionalAction,
        help="a bar (default: if stderr is a terminal)",
    )
    add_method(parser)
    add_network(parser)


def _run_davis(args: argparse.Namespace) -> int:
    from rmnet.evaluation import open_davis

    options = {"year": args.year, "split": args.split, "resolution": args.resolution}
    return _run(open_davis(args.root, clips=args.clips, **options), args)


def _run_youtube_vos(args: argparse.Namespace) -> int:
    from rmnet.evaluation import open_youtube_vos

    options = {"split": args.split, "unseen": args.unseen}
    return _run(open_youtube_vos(args.root, clips=args.clips, **options), args)


def _run_folder(args: argparse.Namespace) -> int:
    from rmnet.evaluation import Record, compare_folders, describe_run, open_folders

    benchmark = open_folders(args.predictions, args.truth, year=args.year)
    record = None
    if args.output is not None:
        facts = describe_run()
        record = Record(args.output, benchmark, options={}, facts=facts, resume=False)
    return _show(benchmark, compare_folders(benchmark, record=record))


def _run(benchmark: Benchmark, args: argparse.Namespace) -> int:
    """Track; what is cheap to check is checked before the weights load."""
    from tqdm import tqdm

    from rmnet.evaluation import Record, describe_network, describe_run, run_benchmark

    _check_output(benchmark, args.output)
    segmenter = load_segmenter(args)
    memory, flow = memory_policy(args), None if args.flow == "tiny" else args.flow
    options: dict[str, Any] = {"size": args.size or segmenter.config.size, "flow": args.flow}
    options |= {"every": memory.every, "max_frames": memory.max_frames, "regional": args.regional}
    record = Record(
        args.output,
        benchmark,
        options={**options, **describe_network(segmenter)},
        facts={"weights": args.weights, **describe_run(segmenter)},
    )
    track = partial(
        _track, segmenter, size=args.size, memory=memory, flow=flow, regional=args.regional
    )
    todo = sum(len(clip.images) for clip in benchmark.clips if record.get(clip.name) is None)
    progress = sys.stderr.isatty() if args.progress is None else args.progress
    with tqdm(total=todo, unit=" frames", disable=not progress, leave=False) as bar:
        results = run_benchmark(
            benchmark, track, record=record, output=args.output, on_frame=bar.update
        )
        code = _show(benchmark, results)
    print(f"{record.path}, predictions in {args.output / benchmark.folder}")
    return code


def _track(segmenter: Any, images: list[Path], masks: dict[int, Any], **options: Any) -> Any:  # noqa: ANN401 as RMNetSegmenter.stream
    return segmenter.stream(images, masks=masks, **options)


def _show(benchmark: Benchmark, results: Iterator[ClipResult]) -> int:
    """Print a line a clip as it comes, and the means; the exit code."""
    from tqdm import tqdm

    from rmnet.cli.evaluate_table import clip_line, header, summary

    width = max(len(clip.name) for clip in benchmark.clips)
    print(header(width))
    done: list[ClipResult] = []
    for result in results:
        done.append(result)
        with tqdm.external_write_mode():  # the bar, if there is one, moves out of the way
            print(clip_line(result, width), flush=True)
    average = benchmark.average([row for result in done for row in result.rows])
    print(summary(done, average))
    return 1 if any(result.error is not None for result in done) else 0


def _check_output(benchmark: Benchmark, output: Path) -> None:
    """Refuse to write predictions where images or annotations are."""
    from rmnet.errors import ConfigError

    root, place = Path(benchmark.options["root"]), output.resolve()
    inputs = [root / name for name in ("JPEGImages", "Annotations", benchmark.options["split"])]
    if place == root or any(folder in (place, *place.parents) for folder in inputs):
        raise ConfigError(
            f"-o {str(output)!r} is part of the data set, which could be overwritten; accepted: "
            "another folder"
        )
