"""What lets a stopped `rmnet track` go on: a folder beside the masks while a run is unfinished.

It holds `run.json`, what the masks depend on; `session.safetensors`, the session at some frame; and
`frames.jsonl`, a line a frame with what is in no mask. Overlay and run lengths are made again from
masks and lines, so they need not be in step with the session.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from rmnet.cli.track_journal import Entry, Image
from rmnet.errors import ConfigError, MaskError, shown
from rmnet.io import make_folder, output_error, read_label_png, remove_unfinished, written_whole
from rmnet.results import FrameSegmentation

if TYPE_CHECKING:
    from rmnet.segmenter import RMNetSegmenter
    from rmnet.tracking import TrackingSession

FOLDER = ".rmnet-track"
_RUN, _JOURNAL, _SESSION = "run.json", "frames.jsonl", "session.safetensors"
_FORMAT_VERSION = 1  # of the folder; raised when an old one would be misread
_PATIENCE = 20  # saving may take one part in so many of the time
_REMEDY = "Write --restart to begin anew, or -o with another folder"


class Checkpoint:
    """An unfinished run; a context manager, which leaves nothing behind where nothing was saved.

    Args:
        output: Folder of the masks.
        identity: What the masks depend on, by name: JSON. A run of other ones is not gone on with.
        frames: Image files of the frames, where they come from such.
        mask_path: The file of a frame's mask, by its number.
        others: What else the run writes.
        seconds: Between two savings at least; 0 to save after every frame, None for never.
    """

    def __init__(
        self,
        output: Path,
        identity: Mapping[str, Any],
        *,
        frames: Sequence[Path] | None,
        mask_path: Callable[[int], Path],
        others: Sequence[Path],
        seconds: float | None,
    ) -> None:
        self.done = 0  # frames that need not be tracked again
        self._output, self._folder = output, output / FOLDER
        self._identity = json.loads(json.dumps(identity))  # as it comes back from a file
        self._frames, self._mask_path, self._seconds = frames, mask_path, seconds
        self._others = others
        self._lines: TextIO | None = None
        self._due = 0.0

    def __enter__(self) -> Checkpoint:
        """Begin to record; a folder that `load` did not go on with is replaced."""
        make_folder(self._output)
        if self._folder.exists():
            remove_unfinished(self._output)
            for path in self._others:
                remove_unfinished(path.parent, [path.name])
        if self.done == 0:
            self.remove()
            make_folder(self._folder)
            run = {"format_version": _FORMAT_VERSION, "run": self._identity}
            with written_whole(self._folder / _RUN, durable=True) as unfinished:
                unfinished.write_text(json.dumps(run, indent=2), encoding="utf-8")
        try:
            self._lines = (self._folder / _JOURNAL).open("a", encoding="utf-8")
        except OSError as error:
            raise output_error(self._folder, error) from error
        self._due = time.monotonic() + (self._seconds or 0)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._lines is not None:
            with suppress(OSError):  # of a line that could not be written, which was told then
                self._lines.close()
            self._lines = None
        if not (self._folder / _SESSION).exists():
            self.remove()

    def remove(self) -> None:
        """Forget the run."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self.done = 0

    def load(self, segmenter: RMNetSegmenter) -> TrackingSession | None:
        """The session of an earlier run of the same command; None if there is none to go on with.

        Raises:
            ConfigError: the run in the folder is another one, or its files are not what it left.
            SessionFileError: its session is damaged.
        """
        session_file = self._folder / _SESSION
        if not session_file.is_file() or not (self._folder / _RUN).is_file():
            return None  # it was stopped before it saved anything
        self._check_identity()
        session = segmenter.load_session(session_file)
        self.done = (session.frame_index or 0) + 1
        self._cut_journal()
        return session

    def past(self) -> Iterator[FrameSegmentation]:
        """The results up to where the session is, as they were, probabilities apart.

        Raises:
            ConfigError: a mask is not as it was written.
        """
        with (self._folder / _JOURNAL).open("rb") as lines:
            for index in range(self.done):
                path = self._mask_path(index)
                try:
                    labels = read_label_png(path).astype(np.int32)
                except MaskError as error:
                    raise self._unusable(str(error)) from error
                try:
                    yield Entry.from_json(next(lines)).result(index, labels)
                except ValueError as error:
                    raise self._unusable(f"the mask {str(path)!r} {error}") from error

    def add(self, result: FrameSegmentation, session: TrackingSession) -> None:
        """Record a frame whose mask is written; save the session if it is time to."""
        if self._lines is None or self._seconds is None:
            return
        line = Entry.of(result, self._image(result.index)).to_json()
        is_due = time.monotonic() >= self._due and session.frame_index is not None
        start = time.monotonic()
        try:
            self._lines.write(line + "\n")
            self._lines.flush()
            if is_due:
                os.fsync(self._lines.fileno())
        except OSError as error:
            raise output_error(self._folder, error) from error
        if not is_due:
            return
        session.save(self._folder / _SESSION)
        took = time.monotonic() - start
        self._due = start + took + max(self._seconds, _PATIENCE * took) if self._seconds else 0.0

    @property
    def is_saved(self) -> bool:
        """Whether there is something to go on with."""
        return (self._folder / _SESSION).exists()

    def _check_identity(self) -> None:
        try:
            content = json.loads((self._folder / _RUN).read_text(encoding="utf-8"))
            version, was = content["format_version"], dict(content["run"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise self._unusable(f"{_RUN} is damaged ({type(error).__name__}: {error})") from error
        if version != _FORMAT_VERSION:
            raise self._unusable(f"its format_version is {shown(version)}, not {_FORMAT_VERSION}")
        names = [*self._identity, *(name for name in was if name not in self._identity)]
        pairs = {name: (was.get(name), self._identity.get(name)) for name in names}
        differences = [
            f"{name if name in self._identity else shown(name)} was {shown(a)} and is {shown(b)}"
            for name, (a, b) in pairs.items()
            if a != b
        ]
        if differences:
            raise self._unusable(f"it is of another command: {'; '.join(differences)}")

    def _cut_journal(self) -> None:
        """Drop the lines of frames after the session's; check those before."""
        journal = self._folder / _JOURNAL
        length = 0
        try:
            with journal.open("rb") as lines:
                for index in range(self.done):
                    line = next(lines)
                    length += len(line)
                    image = Entry.from_json(line).image
                    if image != self._image(index):
                        raise self._unusable(f"frame {index} is not the image that was tracked")
        except (OSError, StopIteration, ValueError, RecursionError) as error:
            if isinstance(error, ConfigError):
                raise
            raise self._unusable(f"{_JOURNAL} is damaged ({error})") from error
        os.truncate(journal, length)

    def _image(self, index: int) -> Image:
        """What tells an image file from another one."""
        if self._frames is None or index >= len(self._frames):
            return None
        try:
            stat = self._frames[index].stat()
        except OSError:  # gone: a frame that cannot be read, then
            return None
        return [self._frames[index].name, stat.st_size, stat.st_mtime_ns]

    def _unusable(self, reason: str) -> ConfigError:
        return ConfigError(
            f"{str(self._output)!r} holds an unfinished run that cannot be gone on with: {reason}. "
            f"{_REMEDY}"
        )
