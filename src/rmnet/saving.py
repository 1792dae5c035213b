"""Files that appear whole or not at all, and what is said when they cannot be written."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rmnet.errors import OutputError


@contextmanager
def written_whole(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Give a place to write to; at the end, and without an error only, it becomes `path`.

    Args:
        path: The file; an old one is replaced, and stays as it is if anything goes wrong.
        durable: Wait for the disk, so that a power cut leaves the old file or the new one too.

    Yields:
        A path in the same folder, since only there is the move at the end atomic. Its name does not
        contain that of the file, which may be as long as a name may be.

    Raises:
        OutputError: it cannot be written.
    """
    unfinished = path.with_name(f".{secrets.token_hex(8)}.unfinished")
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
