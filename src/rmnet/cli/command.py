"""The command and its subcommands. Nothing slow is imported before the arguments are parsed."""

from __future__ import annotations

import argparse
import importlib.metadata
import io
import os
import re
import sys
import traceback
import warnings
from collections.abc import Sequence

from rmnet.cli.convert import add_parser as add_convert
from rmnet.cli.demo import add_parser as add_demo
from rmnet.cli.evaluate import add_parser as add_evaluate
from rmnet.cli.info import add_parser as add_info
from rmnet.cli.track import add_parser as add_track
from rmnet.errors import RMNetError

_DESCRIPTION = """\
Video object segmentation: give the masks of the objects in the first frame, get them in every
frame (RMNet, CVPR 2021).
"""
_EXAMPLES = """\
examples:
  rmnet demo                                try it: needs no files and no network
  rmnet track dog.mp4 dog.png -o masks      dog.png: the objects of the first frame
  rmnet track --help                        kinds of video and mask, and all options
  rmnet info                                versions, device, and a self-test

exit codes: 0 done, 1 an error, 2 wrong usage, 130 interrupted
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv`, by default that of this process; return the exit code.

    The codes are those of `_EXAMPLES`, and 141 if nobody reads the output any more. argparse exits
    by itself (SystemExit) after --help and --version, and on wrong usage.
    """
    _escape_what_cannot_be_printed()
    parser = _build_parser()
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
            return 130  # as shells report SIGINT
        except BrokenPipeError:
            # Python flushes stdout once more on exit, which must not fail.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141  # as shells report SIGPIPE
        except Exception as error:  # a user sees one line for any error
            if getattr(args, "debug", False):
                traceback.print_exc()
            print(f"rmnet: error: {_one_line(error)}", file=sys.stderr)
            return 1
    return code


def _escape_what_cannot_be_printed() -> None:
    """Let no name of a file or clip make a print fail, which would lose finished work.

    Terminals may lack its letters, and names that are not UTF-8 have no letters at all.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None in a program without a console
            stream.reconfigure(errors="backslashreplace")


def _build_parser() -> argparse.ArgumentParser:
    """Return the parser of all subcommands, whose result has the function to call as `run`."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--debug",
        action="store_true",
        default=argparse.SUPPRESS,  # or a subcommand's default would undo `rmnet --debug track`
        help="print the traceback of an error too",
    )
    parser = argparse.ArgumentParser(
        prog="rmnet",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        parents=[common],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    version = f"rmnet {importlib.metadata.version('rmnet')}"
    parser.add_argument("--version", action="version", version=version)
    parser.set_defaults(run=None)
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND")
    for add_parser in (add_track, add_evaluate, add_demo, add_convert, add_info):
        add_parser(subparsers, common)
    return parser


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, RMNetError | OSError) and text:
        return _as_typed(text)
    return f"{type(error).__name__}: {text}. Run it again with --debug for the traceback"


def _as_typed(text: str) -> str:
    """Spell the argument `object_ids`, which the library names, as the option that it is here."""

    def option(found: re.Match[str]) -> str:
        ids = found["ids"]
        return "--object-ids" if ids is None else f"--object-ids {ids.replace(' ', '')}"

    # Neither before nor after a slash, where it is part of a path.
    return re.sub(r"(?<![\w/])object_ids([= ]\[(?P<ids>[^]]*)\])?(?![\w/])", option, text)


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """Print a warning without its category and line of code."""
    print(f"rmnet: warning: {' '.join(str(message).split())}", file=sys.stderr)
