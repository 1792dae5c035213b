"""Arguments that several subcommands share."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rmnet.options import MemoryPolicy
    from rmnet.segmenter import RMNetSegmenter

# What argparse calls the object that add_subparsers returns; it has no public name.
Subparsers = Any

DTYPES = ("float32", "float16", "bfloat16")


def add_command(
    subparsers: Subparsers,
    name: str,
    common: argparse.ArgumentParser,
    *,
    summary: str,
    description: str,
    examples: str,
) -> argparse.ArgumentParser:
    """Add a subcommand's parser.

    Args:
        subparsers: Of the main parser.
        name: Of the subcommand.
        common: Holds the options of every subcommand.
        summary: A line for `rmnet --help`.
        description: For the top of its own help.
        examples: For the end of its own help.
    """
    return subparsers.add_parser(
        name,
        parents=[common],
        help=summary,
        description=description,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # or new options would change what old abbreviations mean
    )


def add_network(parser: argparse.ArgumentParser, *, with_size: bool = True) -> None:
    """Add `--weights`, `--device`, `--dtype` and, unless nothing of a user's is tracked, `--size`."""
    group = parser.add_argument_group("network")
    group.add_argument(
        "--weights",
        metavar="NAME",
        default="rmnet-small",
        help="rmnet-small (comes with the package; default), a folder with config.json and "
        "model.safetensors, a .safetensors file, a released .pth, or a hub id org/name",
    )
    if with_size:
        group.add_argument(
            "--size",
            type=_size,
            metavar="N|native",
            help="shorter side inside the network, px; smaller is faster. The masks keep the "
            "video's own size (default: the size the weights were trained at)",
        )
    group.add_argument(
        "--device",
        metavar="DEVICE",
        help="cpu, cuda, cuda:1, ... (default: cuda where there is one, else cpu)",
    )
    group.add_argument(
        "--dtype",
        choices=DTYPES,
        default="float32",
        help="precision of the computation (default: float32)",
    )


def add_method(parser: argparse.ArgumentParser) -> None:
    """Add `--every`, `--max-frames`, `--flow` and `--regional`."""
    method = parser.add_argument_group("method")
    method.add_argument(
        "--every",
        metavar="N",
        type=positive,
        default=5,
        help="remember every N-th frame (default: 5)",
    )
    method.add_argument(
        "--max-frames",
        metavar="N|none",
        type=_bound,
        default=40,
        help="frames to remember at most; when there are more, they are thinned out (default: 40)",
    )
    method.add_argument(
        "--flow",
        choices=("tiny", "none"),
        default="tiny",
        help="where to look for an object: around its last mask moved by the optical flow of "
        "TinyFlowNet, or around its last mask as it is (default: tiny)",
    )
    method.add_argument(
        "--regional",
        action="store_true",
        help="compute only where objects are looked for: faster, slightly different",
    )


def memory_policy(args: argparse.Namespace) -> MemoryPolicy:
    """What the options of `add_method` say of the memory."""
    from rmnet.options import MemoryPolicy

    return MemoryPolicy(every=args.every, max_frames=args.max_frames)


def load_segmenter(args: argparse.Namespace) -> RMNetSegmenter:
    """The segmenter that the options of `add_network` ask for."""
    import torch

    from rmnet.segmenter import RMNetSegmenter

    dtype = getattr(torch, args.dtype)
    return RMNetSegmenter.from_pretrained(args.weights, device=args.device, dtype=dtype)


def positive(text: str) -> int:
    """An integer from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer of at least 1")
    return int(text)


def _bound(text: str) -> int | None:
    return None if text == "none" else positive(text)


def _size(text: str) -> int | Literal["native"]:
    return "native" if text == "native" else positive(text)
