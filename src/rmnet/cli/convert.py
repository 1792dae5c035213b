"""`rmnet convert`: a released checkpoint as a folder of config.json and model.safetensors."""

from __future__ import annotations

import argparse
import shlex

from rmnet.cli.arguments import Subparsers, add_command

_DESCRIPTION = """\
Convert the weights that the paper's authors released (.pth) to config.json + model.safetensors:
safe to share, quick to load, and the same numbers. The .pth is read as data only: nothing in it
is run, and every tensor must be known and present.
"""
_EXAMPLES = """\
  rmnet convert RMNet.pth rmnet-davis           float32, as it was trained
  rmnet convert RMNet.pth rmnet-davis --half    half the size
  rmnet track dog.mp4 dog.png -o masks --weights rmnet-davis
"""


def add_parser(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the subcommand."""
    summary = "convert released weights to config.json and model.safetensors"
    parser = add_command(subparsers, "convert", common, summary, _DESCRIPTION, _EXAMPLES)
    released_help = "a released checkpoint, or any other weights that --weights takes"
    parser.add_argument("released", metavar="RELEASED.pth", help=released_help)
    parser.add_argument("directory", metavar="DIR", help="folder to write, made if necessary")
    parser.add_argument("--half", action="store_true", help="store float16 (default: float32)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Convert, and name the files written."""
    import torch

    from rmnet.weights import load_network, save_network

    network = load_network(args.released)
    dtype = torch.float16 if args.half else torch.float32
    folder = save_network(network, args.directory, dtype=dtype)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    name = str(dtype).removeprefix("torch.")
    print(f"{network.config.backbone}, {parameters / 1e6:.1f} M parameters, {name}")
    for file in ("config.json", "model.safetensors"):
        print(f"wrote {folder / file} ({(folder / file).stat().st_size / 1e6:.3g} MB)")
    print(f"use it with --weights {shlex.quote(str(folder))}")
    return 0
