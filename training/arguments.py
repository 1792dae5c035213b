"""The command line that both trainings share."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from sources import HELD_OUT, SIDE, Sources, default_data
from strict_json import TrainingConfigError


def training_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with everything that `train.py` and `train_flow.py` have in common."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path, help="such as training/configs/rmnet-small.json")
    parser.add_argument("--out", type=Path, required=True, help="folder; goes on if there is a run")
    parser.add_argument("--clips", type=int, help="planned clips; default: the config's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ...")
    parser.add_argument("--workers", type=int, help="processes that make clips; default: 1, GPU: 8")
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--precision", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--check-every", type=int, default=6000, help="clips")
    add_data_arguments(parser)
    return parser


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that say which images there are."""
    parser.add_argument("--data", type=Path, nargs="+", default=[default_data()], metavar="DIR")
    parser.add_argument(
        "--held-out", nargs="*", default=list(HELD_OUT), metavar="CLIP",
        help="clips that are measured and not trained on",
    )  # fmt: skip
    parser.add_argument("--source-side", type=int, default=SIDE, help="px; larger ones are shrunk")
    parser.add_argument(
        "--cache", type=Path, metavar="FILE",
        help="keeps the pictures as they were read; default: pictures.safetensors beside --out",
    )  # fmt: skip
    parser.add_argument("--max-stills", type=int, help="of each pack; default: all")
    parser.add_argument(
        "--shapes", type=int, metavar="N",
        help="learn from N stills of shapes made by code, and frames of the clips, instead of "
        "the stills in --data: nothing but the clips' own licence applies then",
    )  # fmt: skip


def read_sources(given: argparse.Namespace) -> Sources:
    """Read the images that the command line names."""
    sources = Sources.read(
        given.data,
        held_out=given.held_out,
        side=given.source_side,
        max_stills=given.max_stills,
        shapes=given.shapes,
        cache=given.cache or given.out.parent / "pictures.safetensors",
    )
    stills = sum(len(numbers) for numbers in sources.packs.values())
    print(
        f"{stills} stills with objects, {len(sources.films)} clips, held out: "
        f"{', '.join(sources.held_out) or 'none'}",
        flush=True,
    )
    return sources


def chosen_device(name: str) -> torch.device:
    """The device of a name, if it is there."""
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise TrainingConfigError(f"--device is {name!r}, but torch finds no CUDA; accepted: cpu")
    return device


def number_of_workers(given: int | None, device: torch.device) -> int:
    """How many processes make clips: one keeps a CPU busy, a GPU is fed by several."""
    if given is not None:
        return given
    return 1 if device.type == "cpu" else 8


def run_command(main: object) -> None:
    """Call a command; what the user can mend is printed without a traceback."""
    try:
        main()  # type: ignore[operator]
    except (TrainingConfigError, FileNotFoundError) as error:
        raise SystemExit(f"error: {error}") from error
