"""Files that appear whole or not at all, and what is said when they cannot be written."""

from __future__ import annotations

import os
import re
import secrets
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rmnet.errors import OutputError

_UNFINISHED = re.compile(r"\.([0-9a-f]{8})[0-9a-f]{8}\.unfinished(\.\w+)?")


@contextmanager
def written_whole(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Give a place to write to; at the end, and without an error only, it becomes `path`.

    Args:
        path: The file; an old one is replaced, and stays as it is if anything goes wrong.
        durable: Wait for the disk, so that a power cut leaves the old file or the new one too.

    Yields:
        An `unfinished_path`.

    Raises:
        OutputError: it cannot be written.
    """
    unfinished = unfinished_path(path)
    try:
        yield unfinished
        if durable:
            _sync(unfinished, os.O_RDWR)
        unfinished.replace(path)
        if durable and hasattr(os, "O_DIRECTORY"):  # Windows opens no folders
            _sync(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise output_error(path, error) from error
    finally:
        with suppress(OSError):  # else the first error would not be seen
            unfinished.unlink(missing_ok=True)


def unfinished_path(path: Path, *, suffix: str = "") -> Path:
    """A new name for what is to become `path`, hidden, that tells for which file it is.

    In the same folder, since only there is the move at the end atomic. The name does not contain
    the file's own, which may be as long as a name may be, but a number made of it.
    """
    return path.with_name(f".{_mark(path.name)}{secrets.token_hex(4)}.unfinished{suffix}")


def remove_unfinished(folder: Path, names: Collection[str] | None = None) -> None:
    """Remove what killed programs had begun; nobody else may be writing these files.

    Args:
        folder: Of the files; it exists.
        names: Of the files; None for all.
    """
    marks = None if names is None else {_mark(name) for name in names}
    for path in folder.iterdir():
        match = _UNFINISHED.fullmatch(path.name)
        if match and (marks is None or match[1] in marks):
            path.unlink(missing_ok=True)


def _mark(name: str) -> str:
    return f"{zlib.crc32(os.fsencode(name)):08x}"


def _sync(path: Path, flags: int) -> None:
    """Put a file, or the names in a folder, on the disk."""
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, where there is none.

    Raises:
        OutputError: it cannot be made; a file of that name may be in the way.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise output_error(path, error) from error


def output_error(path: Path, error: OSError | ValueError) -> OutputError:
    """What to raise for a file or folder that cannot be written."""
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())
    raised = OutputError(
        f"{str(path)!r} cannot be written: {reason}; accepted: a folder with room, into which you "
        "may write"
    )
    raised.errno = getattr(error, "errno", None)
    return raised
