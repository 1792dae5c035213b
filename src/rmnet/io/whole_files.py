"""Files that appear whole or not at all, and the error for those that cannot be written."""

from __future__ import annotations

import os
import re
import secrets
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rmnet.errors import OutputError, RMNetError

_UNFINISHED = re.compile(r"\.([0-9a-f]{8})[0-9a-f]{8}\.unfinished(\.\w+)?")


@contextmanager
def written_whole(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Yield a path to write to, which replaces `path` if the block ends without an error.

    `durable` waits for the disk, so that even a power cut leaves either the old file or the new.
    """
    unfinished = unfinished_path(path)
    try:
        yield unfinished
        if durable:
            _sync(unfinished, os.O_RDWR)
        unfinished.replace(path)
        if durable and hasattr(os, "O_DIRECTORY"):  # Windows opens no folders
            _sync(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except RMNetError:  # names its own file
        raise
    except OSError as error:
        raise output_error(path, error) from error
    finally:
        with suppress(OSError):  # it would hide the first error
            unfinished.unlink(missing_ok=True)


def unfinished_path(path: Path, *, suffix: str = "") -> Path:
    """Return a new hidden path in the folder of `path`, for content to be moved there when whole.

    Only within a folder is that move atomic. The name holds a checksum of the file's name instead
    of the name itself, which may already have the greatest length.
    """
    return path.with_name(f".{_mark(path.name)}{secrets.token_hex(4)}.unfinished{suffix}")


def remove_unfinished(folder: Path, names: Collection[str] | None = None) -> None:
    """Remove what killed programs left of files with these names (None: any), now unused."""
    marks = None if names is None else {_mark(name) for name in names}
    for path in folder.iterdir():
        match = _UNFINISHED.fullmatch(path.name)
        if match and (marks is None or match[1] in marks):
            path.unlink(missing_ok=True)


def _mark(name: str) -> str:
    return f"{zlib.crc32(os.fsencode(name)):08x}"


def _sync(path: Path, flags: int) -> None:
    """Flush a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Create a folder and its parents, unless it exists; raise an OutputError if it cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise output_error(path, error) from error


def output_error(path: Path, error: OSError | ValueError) -> OutputError:
    """Return the error to raise for a file or folder that cannot be written."""
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())
    raised = OutputError(
        f"{str(path)!r} cannot be written: {reason}; accepted: a writable folder with free space"
    )
    raised.errno = getattr(error, "errno", None)
    return raised
