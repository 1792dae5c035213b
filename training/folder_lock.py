"""A lock for the folder of a run: two runs would overwrite each other's checkpoints."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from training.strict_json import TrainingConfigError

LOCK = "lock"
_held: set[int] = set()


class FolderLock:
    """Locks a folder until `release`, or until the process ends, however it ends."""

    def __init__(self, folder: Path) -> None:
        """Take the lock.

        Raises:
            TrainingConfigError: another process, or another run of this one, holds it.
        """
        self._file: int | None = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        _held.add(self._file)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(self._file, 20).decode().strip() or "another"
            self.release()
            raise TrainingConfigError(
                f"process {holder} trains into {folder}; accepted: another --out, or this one once "
                "that process has ended"
            ) from error
        os.ftruncate(self._file, 0)
        os.write(self._file, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Release the lock; a second call does nothing."""
        if self._file is not None and self._file in _held:
            _held.remove(self._file)
            os.close(self._file)
        self._file = None

    def __del__(self) -> None:
        """Release the lock of a run that failed."""
        self.release()


def _forget() -> None:
    # A worker that outlives a killed trainer for a moment must not keep its folder locked.
    for file in _held:
        os.close(file)
    _held.clear()


os.register_at_fork(after_in_child=_forget)
