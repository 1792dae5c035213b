"""`rmnet convert`: a released checkpoint as a folder of config.json and model.safetensors."""

from __future__ import annotations

import argparse
import shlex

from rmnet.cli.arguments import Subparsers, add_command

_DESCRIPTION = """\
Convert the weights that the paper's authors released (.pth) to config.json + model.safetensors:
safe to share, quick to load, and the same numbers. The .pth is read as data only; nothing in it
is run, and every tensor must be known and present.
"""
_EXAMPLES = """\
  rmnet convert RMNet.pth rmnet-davis           float32, as it was trained
  rmnet convert RMNet.pth rmnet-davis --half    half the size
  rmnet track dog.mp4 dog.png -o masks --weights rmnet-davis
"""


def add_parser(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the subcommand."""
    parser = add_command(
        subparsers,
        "convert",
        common,
        summary="make released weights a folder of config.json and model.safetensors",
        description=_DESCRIPTION,
        examples=_EXAMPLES,
    )
    parser.add_argument(
        "released",
        metavar="RELEASED.pth",
        help="a released checkpoint; other weights that --weights takes do as well",
    )
    parser.add_argument("directory", metavar="DIR", help="folder to write; made if need be")
    parser.add_argument("--half", action="store_true", help="store float16 (default: float32)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Convert, and say what was written."""
    import torch

    from rmnet.weights import load_network, save_network

    network = load_network(args.released)
    folder = save_network(
        network, args.directory, dtype=torch.float16 if args.half else torch.float32
    )
    parameters = sum(parameter.numel() for parameter in network.parameters())
    print(
        f"{network.config.backbone}, {parameters / 1e6:.1f} M parameters, "
        f"{'float16' if args.half else 'float32'}"
    )
    for file in ("config.json", "model.safetensors"):
        print(f"wrote {folder / file} ({(folder / file).stat().st_size / 1e6:.3g} MB)")
    print(f"use it with --weights {shlex.quote(str(folder))}")
    return 0
