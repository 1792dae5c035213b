"""Hostile input at every public entry point ("door"): only results or library errors may come out.

    python tests/fuzz_doors.py [--cases N] [--seed S] [--doors NAME,...] [--seconds S]

For each door, prints the number of cases and their outcomes, and each case that broke a rule with
the seed that reproduces it. The exit code is 1 if a rule was broken. The rules:

- only an RMNetError may be raised, and no file written outside the case's own folder;
- nothing may open a connection, start a process, or run code that a pickle names;
- a case may take at most 20 s, and raise the process's peak memory by at most 1 GiB.

test_hostile_input.py runs a few cases of each door.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import isgenerator
from pathlib import Path
from unittest.mock import patch

import fuzz_files
import fuzz_resume
import fuzz_values
from rmnet import RMNetError

_ALL = fuzz_values.DOORS + fuzz_files.DOORS + fuzz_resume.DOORS
DOORS = {door.__name__.removeprefix("door_"): door for door in _ALL}
SECONDS = 20  # per case
MEMORY = 2**20  # KiB by which a case may raise the peak
FORBIDDEN = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "subprocess.Popen",
    "os.startfile",
)
NETWORK = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")
WRITES = {
    "os.mkdir": (0,),
    "os.rename": (0, 1),
    "os.remove": (0,),
    "os.symlink": (1,),
    "os.link": (1,),
}


class BrokenRuleError(BaseException):
    """A broken rule; not an Exception, so that no `except Exception` hides it."""


class Watch:
    """Records forbidden actions of the process during a case, by Python's audit events."""

    def __init__(self) -> None:
        self.folder: str | None = None
        self.seen: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, args: tuple[object, ...]) -> None:
        if self.folder is None:
            return
        if event in FORBIDDEN or event in NETWORK:
            self.seen.append(f"{event} {args[:1]!r}")
        elif event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR):
            self._check(event, args[0])
        elif event in WRITES:
            for number in WRITES[event]:
                self._check(event, args[number])

    def _check(self, event: str, path: object) -> None:
        if isinstance(path, str | bytes | os.PathLike):
            real = os.path.realpath(os.path.dirname(os.fsdecode(path)))  # noqa: PTH120 events may hold bytes
            if os.path.commonpath([real, str(self.folder)]) != self.folder:
                self.seen.append(f"{event} {path!r}")


_watches: list[Watch] = []


@contextmanager
def alarm(seconds: int) -> Iterator[None]:
    """Raise in the main thread when the time is up; if that fails, dump all threads and exit."""

    def ring(*_: object) -> None:
        raise BrokenRuleError(f"the case took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    faulthandler.dump_traceback_later(4 * seconds, exit=True)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        faulthandler.cancel_dump_traceback_later()


@contextmanager
def temporary_files_in(folder: str) -> Iterator[None]:
    """Let temporary files, which may be written, lie in a folder."""
    with patch.dict(os.environ, TMPDIR=folder), patch.object(tempfile, "tempdir", folder):
        yield


def attempt(call, outcomes: Counter[str]) -> object:
    """Make a call, count its outcome, and return its result, or None after a library error."""
    try:
        result = call()
    except RMNetError as error:
        if len(str(error)) > 20_000:
            raise BrokenRuleError(f"a message of {len(str(error))} characters") from error
        outcomes[type(error).__name__] += 1
        return None
    outcomes["accepted"] += 1
    return result


def run_case(door, chance: random.Random, outcomes: Counter[str]) -> None:
    """Run one case of a door under the rules.

    Raises:
        BaseException: A rule was broken.
    """
    if not _watches:
        for doors in (fuzz_files, fuzz_resume):
            doors.make_seeds()  # now, because they are written outside the case's folder
        fuzz_values.segmenter()
        _watches.append(Watch())
    watch, calls = _watches[0], []
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        top = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        watch.folder, watch.seen = os.path.realpath(name), []
        folder, temporary = Path(name, "door"), Path(name, "temporary")
        folder.mkdir(), temporary.mkdir()
        try:
            with alarm(SECONDS), temporary_files_in(str(temporary)):
                counted: Counter[str] = Counter()
                result = attempt(lambda: door(chance, folder), counted)
                while isgenerator(result):  # it yields further calls, each of which may fail
                    counted.clear()
                    call = attempt(lambda made=result: next(made, None), counted)
                    if call is None:
                        break
                    calls.append(call)
                    counted.clear()
                    attempt(call, outcomes)
                outcomes.update(counted)
        finally:
            watch.folder = None
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - top
    if watch.seen:
        raise BrokenRuleError(f"forbidden actions: {watch.seen[:3]}")
    if grown > MEMORY:
        raise BrokenRuleError(f"the case raised peak memory by {grown / 2**20:.1f} GiB")


def main() -> int:
    """Run cases of every door and print a table of their outcomes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=1000, help="per door")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--doors", type=lambda text: text.split(","), default=list(DOORS))
    parser.add_argument("--seconds", type=float, default=float("inf"), help="limit per door")
    args = parser.parse_args()
    failures = 0
    print("| door | cases | s | outcomes |\n|---|---|---|---|")
    for name in args.doors:
        outcomes: Counter[str] = Counter()
        start, cases, known = time.perf_counter(), 0, set()
        while cases < args.cases and time.perf_counter() - start < args.seconds:
            seed = f"{name}-{args.seed + cases}"
            cases += 1
            try:
                run_case(DOORS[name], random.Random(seed), outcomes)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                failures += 1
                outcomes[f"BROKEN {type(error).__name__}"] += 1
                place = traceback.extract_tb(error.__traceback__)[-1]
                if (type(error), place.lineno, place.filename) not in known:
                    known.add((type(error), place.lineno, place.filename))
                    print(f"\nseed {seed!r}:", file=sys.stderr)
                    traceback.print_exception(error, limit=-6)
        took = time.perf_counter() - start
        found = ", ".join(f"{what} {count}" for what, count in outcomes.most_common())
        print(f"| {name} | {cases} | {took:.0f} | {found} |", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
