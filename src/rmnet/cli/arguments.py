"""Arguments that several subcommands share."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rmnet.options import MemoryPolicy
    from rmnet.segmenter import RMNetSegmenter

# The return value of `add_subparsers`, whose class has no public name.
Subparsers = Any


def add_command(
    subparsers: Subparsers,
    name: str,
    common: argparse.ArgumentParser,
    summary: str,
    description: str,
    examples: str,
) -> argparse.ArgumentParser:
    """Add a subcommand's parser; `common` holds the options of every subcommand."""
    return subparsers.add_parser(
        name,
        parents=[common],
        help=summary,
        description=description,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # or new options would change the meaning of old abbreviations
    )


def add_network(parser: argparse.ArgumentParser, *, with_size: bool = True) -> None:
    """Add `--weights`, `--device`, `--dtype` and, for a command that tracks videos, `--size`."""
    add = parser.add_argument_group("network").add_argument
    weights_help = (
        "rmnet-small (comes with the package; default), a folder with config.json and "
        "model.safetensors, a .safetensors file, a released .pth, or a hub id org/name"
    )
    add("--weights", metavar="NAME", default="rmnet-small", help=weights_help)
    if with_size:
        size_help = (
            "shorter side inside the network, px; smaller is faster. Masks have the video's own "
            "size (default: the size the weights were trained at)"
        )
        add("--size", type=_size, metavar="N|native", help=size_help)
    add("--device", help="cpu, cuda, cuda:1, ... (default: cuda if there is one, else cpu)")
    dtypes = ("float32", "float16", "bfloat16")
    dtype_help = "precision of the computation (default: float32)"
    add("--dtype", choices=dtypes, default="float32", help=dtype_help)


def add_method(parser: argparse.ArgumentParser) -> None:
    """Add `--every`, `--max-frames`, `--flow` and `--regional`."""
    add = parser.add_argument_group("method").add_argument
    every_help = "remember every N-th frame (default: 5)"
    add("--every", metavar="N", type=positive, default=5, help=every_help)
    add(
        "--max-frames",
        metavar="N|none",
        type=lambda text: None if text == "none" else positive(text),
        default=40,
        help="largest number of frames to remember; beyond it they are thinned out (default: 40)",
    )
    flow_help = (
        "where to search for an object: around its last mask moved by the optical flow of "
        "TinyFlowNet, or around its last mask as it is (default: tiny)"
    )
    add("--flow", choices=("tiny", "none"), default="tiny", help=flow_help)
    regional_help = "compute only where objects are searched for: faster, slightly different"
    add("--regional", action="store_true", help=regional_help)


def memory_policy(args: argparse.Namespace) -> MemoryPolicy:
    """Return the memory policy that the options of `add_method` describe."""
    from rmnet.options import MemoryPolicy

    return MemoryPolicy(every=args.every, max_frames=args.max_frames)


def load_segmenter(args: argparse.Namespace) -> RMNetSegmenter:
    """Return the segmenter that the options of `add_network` describe."""
    import torch

    from rmnet.segmenter import RMNetSegmenter

    dtype = getattr(torch, args.dtype)
    return RMNetSegmenter.from_pretrained(args.weights, device=args.device, dtype=dtype)


def positive(text: str) -> int:
    """Parse an integer of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer of at least 1")
    return int(text)


def _size(text: str) -> int | Literal["native"]:
    return "native" if text == "native" else positive(text)
