"""Command-line options that `training.train` and `training.train_flow` share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch

from training.sources import HELD_OUT, SIDE, Sources, default_data
from training.strict_json import TrainingConfigError


def training_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that both trainings have in common."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "config", type=Path, help="a file such as training/configs/rmnet-small.json"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the run, which resumes if there is one"
    )
    parser.add_argument(
        "--clips", type=int, help="number of clips to train on; default: the config's"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ...")
    parser.add_argument(
        "--workers", type=int, help="processes that make clips; default: 1, for a GPU 8"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of each process")
    parser.add_argument("--precision", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--check-every", type=int, default=6000, help="clips between two checks")
    add_data_arguments(parser)
    return parser


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose the images."""
    parser.add_argument("--data", type=Path, nargs="+", default=[default_data()], metavar="DIR")
    parser.add_argument(
        "--held-out", nargs="*", default=list(HELD_OUT), metavar="CLIP",
        help="clips to check on instead of training on them",
    )  # fmt: skip
    parser.add_argument(
        "--source-side",
        type=int,
        default=SIDE,
        help="px; larger images are shrunk to this shorter side",
    )
    parser.add_argument(
        "--cache", type=Path, metavar="FILE",
        help="file for the decoded images; default: pictures.safetensors beside --out",
    )  # fmt: skip
    parser.add_argument("--max-stills", type=int, help="stills to read of each pack; default: all")
    parser.add_argument(
        "--shapes", type=int, metavar="N",
        help="learn from N stills of shapes drawn by code, and from frames of the clips, not from "
        "the stills in --data; then only the licence of the clips applies",
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
    """Return the device of a name; raise if torch does not find it."""
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise TrainingConfigError(f"--device is {name!r}, but torch finds no CUDA; accepted: cpu")
    return device


def number_of_workers(given: int | None, device: torch.device) -> int:
    """Return how many processes make clips: one keeps a CPU busy, a GPU needs several."""
    if given is not None:
        return given
    return 1 if device.type == "cpu" else 8


def run_command(main: Callable[[], None]) -> None:
    """Call a command; print errors that the user can fix without a traceback."""
    try:
        main()
    except (TrainingConfigError, FileNotFoundError) as error:
        raise SystemExit(f"error: {error}") from error
