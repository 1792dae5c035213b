"""The frames before the last one, kept in temporary files so that a session can go back to them."""

from __future__ import annotations

import mmap
import os
import tempfile
import warnings
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from rmnet.tracking.last_frame import LastFrame
from rmnet.tracking.past_frame import PastFrame

_CHUNKS = 8  # files that a full history fills: what it takes beyond its frames is one of them
_FEWEST = 16  # frames in a file
_ALIGNMENT = 64  # of a record, in bytes


class _Chunk:
    """A temporary file without a name, closed when nothing refers to it any more."""

    def __init__(self) -> None:
        # Without a buffer: after an error, closing the file has nothing left to write.
        self._file = tempfile.TemporaryFile(buffering=0, dir=_folder())  # noqa: SIM115 closed by the finaliser
        self._process = os.getpid()
        weakref.finalize(self, self._file.close)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Chunk:
        copy = _Chunk()
        copy.write(0, [torch.frombuffer(self.map(), dtype=torch.uint8)])
        return copy

    @property
    def is_own(self) -> bool:
        """Whether this process made the file; a forked child shares it with its parent."""
        return self._process == os.getpid()

    def write(self, start: int, parts: Sequence[Tensor]) -> None:
        """Write uint8 tensors one after the other, from a byte on."""
        self._file.seek(start)
        for part in parts:
            left = part.numpy().data
            while left:
                left = left[self._file.write(left) :]

    def map(self) -> mmap.mmap:
        """Return the contents as memory that is read from the file when it is used."""
        # Private, since torch takes no read-only memory without a warning.
        return mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_COPY)


@dataclass(frozen=True, slots=True)
class _Entry:
    frame: PastFrame
    chunk: _Chunk
    number: int  # of the record in its file
    start: int  # in bytes

    def record(self, contents: mmap.mmap) -> Tensor:
        return torch.frombuffer(
            contents, dtype=torch.uint8, offset=self.start, count=self.frame.num_bytes
        )


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """Frames before the last one, as a value that is continued once.

    The bytes after its last frame are free: a second continuation would overwrite the first.

    Attributes:
        limit: Largest number of frames kept; the oldest go first.
        failure: Why no frames are kept any more; None while they are.
    """

    limit: int
    failure: str | None = None
    _entries: tuple[_Entry, ...] = field(default=(), repr=False)

    @property
    def frames(self) -> tuple[PastFrame, ...]:
        """The frames kept, ascending by number."""
        return tuple(entry.frame for entry in self._own())

    def with_frame(self, frame: LastFrame) -> History:
        """Return a history that goes on with a frame; see `with_record`."""
        if not self.limit or self.failure:
            return self
        return self.with_record(*PastFrame.pack(frame))

    def with_record(self, frame: PastFrame, parts: Sequence[Tensor]) -> History:
        """Return a history that goes on with a frame whose record consists of `parts`, uint8.

        If it cannot be written, all frames are dropped, because a full disk concerns other programs
        too; `failure` says why.
        """
        if not self.limit or self.failure:
            return self
        entries = self._own()
        try:
            entry = self._place(entries[-1] if entries else None, frame)
            entry.chunk.write(entry.start, parts)
        except OSError as error:
            return History(self.limit, failure=error.strerror or str(error))
        return replace(self, _entries=(*entries, entry)[-self.limit :])

    def without(self, ids: frozenset[int]) -> History:
        """Return the same frames without some objects, as if these had never existed."""
        return replace(self, _entries=tuple(_without(entry, ids) for entry in self._own()))

    def before(self, index: int) -> History:
        """Return the frames before one."""
        return replace(self, _entries=tuple(e for e in self._own() if e.frame.index < index))

    def load(self, index: int, device: torch.device) -> LastFrame:
        """Return a frame that is kept, as it was except for objects removed since."""
        entry = next(entry for entry in self._own() if entry.frame.index == index)
        return entry.frame.unpack(entry.record(entry.chunk.map()), device)

    def records(self) -> dict[int, Tensor]:
        """Return frame number -> record (bytes,) uint8; they are read when they are used."""
        maps = {id(entry.chunk): entry.chunk.map() for entry in self._own()}
        return {entry.frame.index: entry.record(maps[id(entry.chunk)]) for entry in self._own()}

    def warn(self) -> None:
        """Say that frames are not kept any more."""
        warnings.warn(
            f"the session keeps no more past frames ({self.failure}): rewind reaches the last frame "
            "only; tracking goes on. Set TMPDIR to a folder with free space, or write "
            "start(history=...) with fewer frames",
            RuntimeWarning,
            stacklevel=2,
        )

    def _own(self) -> tuple[_Entry, ...]:
        # A forked child must not rely on files that its parent goes on writing to.
        return tuple(entry for entry in self._entries if entry.chunk.is_own)

    def _place(self, last: _Entry | None, frame: PastFrame) -> _Entry:
        """Choose the place of a record: after the last one, or in a new file if that is full."""
        if last is None or last.number + 1 >= max(_FEWEST, self.limit // _CHUNKS):
            return _Entry(frame, _Chunk(), number=0, start=0)
        end = last.start + last.frame.num_bytes
        start = -(-end // _ALIGNMENT) * _ALIGNMENT
        return _Entry(frame, last.chunk, number=last.number + 1, start=start)


def _folder() -> str | None:
    """Return the folder for large temporary files: the user's choice, or else one on disk."""
    is_chosen = any(os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP"))
    # /tmp lies in memory on many systems; /var/tmp does not.
    return None if is_chosen or not os.access("/var/tmp", os.W_OK) else "/var/tmp"


def _without(entry: _Entry, ids: frozenset[int]) -> _Entry:
    gone = ids.intersection(entry.frame.object_ids)
    return replace(entry, frame=replace(entry.frame, removed=entry.frame.removed | gone))
