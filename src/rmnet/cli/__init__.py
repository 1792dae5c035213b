"""The command `rmnet`. Nothing slow is imported before the arguments are understood."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import TextIO

from rmnet.cli import convert, demo, evaluate, info, track

INTERRUPTED = 130  # as shells report SIGINT
BROKEN_PIPE = 141  # as shells report SIGPIPE

_DESCRIPTION = """\
Video object segmentation: give the masks of the objects in the first frame, get them in every
frame (RMNet, CVPR 2021).
"""
_EXAMPLES = """\
examples:
  rmnet demo                                try it: needs no files and no network
  rmnet track dog.mp4 dog.png -o masks      dog.png: the objects of the first frame
  rmnet track --help                        forms of video and mask, and all options
  rmnet info                                versions, device, and a self-test

exit codes: 0 done, 1 an error, 2 wrong usage, 130 interrupted
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments without the program's name; None for those of this process.

    Returns:
        The exit code: 0 done; 1 an error, told in one line on stderr; 2 wrong usage;
        130 interrupted; 141 nobody reads the output any more.

    Raises:
        SystemExit: from argparse, after --help and --version (0) and on wrong usage (2).
    """
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.run is None:
        parser.print_help(sys.stderr)
        return 2
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            code = args.run(args)
            sys.stdout.flush()  # here, where a broken pipe can still be handled
        except KeyboardInterrupt:
            print("rmnet: interrupted", file=sys.stderr)
            return INTERRUPTED
        except BrokenPipeError:
            _discard_stdout()
            return BROKEN_PIPE
        except Exception as error:  # whatever it is, a user sees one line
            if getattr(args, "debug", False):
                traceback.print_exc()
            print(f"rmnet: error: {_one_line(error)}", file=sys.stderr)
            return 1
    return code


def build_parser() -> argparse.ArgumentParser:
    """The parser of all subcommands; `run` in its result is the function to call."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--debug",
        action="store_true",
        default=argparse.SUPPRESS,  # or a subcommand's default would undo `rmnet --debug track`
        help="on an error, print the traceback too",
    )
    parser = argparse.ArgumentParser(
        prog="rmnet",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        parents=[common],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    version = importlib.metadata.version("rmnet")
    parser.add_argument("--version", action="version", version=f"rmnet {version}")
    parser.set_defaults(run=None)
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in (track, evaluate, demo, convert, info):
        command.add_parser(subparsers, common)
    return parser


def _one_line(error: Exception) -> str:
    from rmnet.errors import RMNetError

    text = " ".join(str(error).split())
    if isinstance(error, RMNetError | OSError) and text:
        return text
    name = type(error).__name__
    return f"{name}: {text}. Run it again with --debug for the traceback"


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    del category, filename, lineno, line  # of no use to who types a command
    print(f"rmnet: warning: {' '.join(str(message).split())}", file=file or sys.stderr)


def _discard_stdout() -> None:
    """Let what is still buffered go nowhere, so that Python's exit does not trip over it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
