"""`rmnet eval`: a benchmark as one command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Generator, Iterator
from contextlib import closing
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
    from rmnet.results import FrameSegmentation

_EXAMPLES = """\
  rmnet eval davis DAVIS -o out                         DAVIS 2017 val
  rmnet eval youtube-vos YouTubeVOS -o out              valid; out/Annotations is a submission
  rmnet eval folder out DAVIS/Annotations/480p          masks of any method
"""
_RESUME = """\

A clip that fails is named, scores 0 and makes the exit code 1. The same command tries it again,
and continues an interrupted run. OUT/results.json holds the results so far.
"""
_DAVIS = f"""\
Compute J and F of DAVIS, without the first and last frame. Predictions go to OUT/CLIP/FRAME.png.
{_RESUME}"""
_DAVIS_EXAMPLE = "  rmnet eval davis DAVIS --year 2016 --clips bear,tennis --device cuda -o some\n"
_YOUTUBE_VOS = f"""\
Compute J and F of YouTube-VOS over the annotated frames of each object after its first, averaged
over seen and over unseen categories. Where only first masks are public (valid), nothing is scored:
zip OUT/Annotations and submit it. Predictions are written for the frames in meta.json.
{_RESUME}"""
_YOUTUBE_VOS_EXAMPLE = "  rmnet eval youtube-vos YouTubeVOS --split valid -o out\n"
_FOLDER = """\
Score label PNGs as DAVIS does: folders of clips, or two folders of PNGs. TRUTH defines the clips,
frames and objects. A clip missing from PREDICTIONS scores 0 and makes the exit code 1.
"""
_FOLDER_EXAMPLE = "  rmnet eval folder masks DAVIS/Annotations/480p/bear -o scores\n"


def add_parser(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the subcommand and its own subcommands."""
    parser = add_command(
        subparsers,
        "eval",
        common,
        summary="score a network on DAVIS or YouTube-VOS, or existing masks",
        description="Score a network on a data set, or masks that exist already.\n",
        examples=_EXAMPLES,
    )
    benchmarks = parser.add_subparsers(
        title="benchmarks", dest="benchmark", metavar="BENCHMARK", required=True
    )

    def add(name: str, summary: str, description: str, examples: str) -> argparse.ArgumentParser:
        return add_command(
            benchmarks, name, common, summary=summary, description=description, examples=examples
        )

    davis = add("davis", "DAVIS 2016 or 2017", _DAVIS, _DAVIS_EXAMPLE)
    davis.add_argument("root", metavar="ROOT", type=Path, help="folder of JPEGImages, Annotations")
    davis.add_argument("--split", default="val", help="list of clips in ImageSets (default: val)")
    davis.add_argument("--resolution", default="480p", help="name of the folders (default: 480p)")

    videos = add("youtube-vos", "YouTube-VOS", _YOUTUBE_VOS, _YOUTUBE_VOS_EXAMPLE)
    videos.add_argument("root", metavar="ROOT", type=Path, help="folder of valid and train")
    videos.add_argument("--split", default="valid", help="folder in ROOT (default: valid)")
    unseen = "list of unseen categories (default: all that are not in ROOT/train/meta.json)"
    videos.add_argument("--unseen", metavar="FILE.json", type=Path, help=unseen)

    folder = add("folder", "existing masks", _FOLDER, _FOLDER_EXAMPLE)
    folder.add_argument("predictions", metavar="PREDICTIONS", type=Path, help="label PNGs")
    folder.add_argument("truth", metavar="TRUTH", type=Path, help="label PNGs")
    folder.add_argument("-o", "--output", metavar="OUT", type=Path, help="folder of results.json")
    folder.set_defaults(run=_run_folder)

    for one in (davis, folder):
        years = "2016: all objects as one (default: 2017)"
        one.add_argument("--year", type=int, choices=(2016, 2017), default=2017, help=years)
    for one in (davis, videos):
        one.add_argument(
            "--clips", metavar="NAME,...", type=lambda text: text.split(","), help="default: all"
        )
        output = "folder of predictions and results.json; made if it does not exist"
        one.add_argument("-o", "--output", metavar="OUT", type=Path, required=True, help=output)
        one.add_argument(
            "--progress",
            action=argparse.BooleanOptionalAction,
            help="show a progress bar (default: if stderr is a terminal)",
        )
        add_method(one)
        add_network(one)
        one.set_defaults(run=_run)


def _run_folder(args: argparse.Namespace) -> int:
    from rmnet.evaluation import Record, compare_folders, describe_run, open_folders

    benchmark = open_folders(args.predictions, args.truth, year=args.year)
    record = None
    if args.output is not None:
        record = Record(args.output, benchmark, options={}, facts=describe_run(), resume=False)
    return _show(benchmark, compare_folders(benchmark, record=record))


def _run(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from rmnet import evaluation

    chosen: dict[str, Any] = {"split": args.split, "clips": args.clips}
    if args.benchmark == "davis":
        chosen |= {"year": args.year, "resolution": args.resolution}
        benchmark = evaluation.open_davis(args.root, **chosen)
    else:
        benchmark = evaluation.open_youtube_vos(args.root, unseen=args.unseen, **chosen)
    segmenter = load_segmenter(args)
    memory, size = memory_policy(args), args.size or segmenter.config.size
    options = {"size": size, "flow": args.flow, "every": memory.every}
    options |= {"max_frames": memory.max_frames, "regional": args.regional}
    record = evaluation.Record(
        args.output,
        benchmark,
        options={**options, **evaluation.describe_network(segmenter)},
        facts={"weights": args.weights, **evaluation.describe_run(segmenter)},
    )
    flow = None if args.flow == "tiny" else args.flow
    method: dict[str, Any] = {"memory": memory, "flow": flow, "regional": args.regional}
    todo = sum(len(clip.images) for clip in benchmark.clips if record.get(clip.name) is None)
    progress = sys.stderr.isatty() if args.progress is None else args.progress
    with tqdm(total=todo, unit=" frames", disable=not progress, leave=False) as bar:

        def track(images: list[Path], masks: Any) -> Generator[FrameSegmentation, None, None]:  # noqa: ANN401 in any form
            stream = segmenter.stream(images, masks=masks, size=args.size, **method)
            with closing(stream) as results:
                for result in results:
                    yield result
                    bar.update()

        code = _show(benchmark, evaluation.run_benchmark(benchmark, track, record=record))
    print(f"{record.path}, predictions in {args.output / benchmark.folder}")
    return code


def _show(benchmark: Benchmark, results: Iterator[ClipResult]) -> int:
    """Print the table, a line as soon as its clip is done, and return the exit code."""
    from tqdm import tqdm

    names = ("J-Mean", "F-Mean", "J&F-Mean")
    width = max(4, *(len(clip.name) for clip in benchmark.clips))
    print(f"{'clip':<{width}} frames objects      J      F    J&F s/frame")
    rows, failed = [], []
    for result in results:
        line = f"{result.clip:<{width}} {result.frames:>6} {len(result.objects) or '-':>7}"
        for name in names:
            values = [row[name] for row in result.objects if row[name] is not None]
            line += f" {sum(values) / len(values):6.3f}" if values else "      -"
        seconds = result.seconds_a_frame
        line += "       -" if seconds is None else f" {seconds:7.3f}"
        line += "  done before" if result.recorded else ""
        line += "" if result.scored else "  not scored: no true masks"
        line += "" if result.error is None else f"  FAILED: {result.error}"
        with tqdm.external_write_mode():  # moves a progress bar out of the way
            print(line, flush=True)
        rows += result.objects
        failed += [] if result.error is None else [result.clip]
    average = benchmark.average(rows)
    means = ", ".join(f"{name} {value:.3f}" for name, value in average.items())
    print(f"mean over all objects: {means}" if average else "nothing was scored")
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0
