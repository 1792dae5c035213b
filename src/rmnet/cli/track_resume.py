"""The state from which a stopped `rmnet track` resumes: a folder beside the masks.

It holds `run.json`, everything the masks depend on; `session.safetensors`, the session after some
frame; and `frames.jsonl`, one line per frame with the facts that its mask does not hold. Overlay
and run lengths are written again from masks and lines.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rmnet.errors import ConfigError, SessionFileError, shown
from rmnet.io import (
    FrameSource,
    make_folder,
    output_error,
    read_label_png,
    remove_unfinished,
    written_whole,
)
from rmnet.results import FrameSegmentation

if TYPE_CHECKING:
    from rmnet.segmenter import RMNetSegmenter
    from rmnet.tracking import TrackingSession

FOLDER = ".rmnet-track"
_FORMAT_VERSION = 3  # of the folder; raised when an old one would be misread
_PATIENCE = 20  # saving takes at most one part in so many of the time
# All that the masks depend on, and the times of the frames.
_OPTIONS = (
    "object_ids",
    "box",
    "point",
    "direction",
    "size",
    "every",
    "max_frames",
    "flow",
    "regional",
    "fps",
)


class Checkpoint:
    """The unfinished run in an output folder; `done` frames of it were tracked before."""

    def __init__(
        self, args: argparse.Namespace, source: FrameSource, segmenter: RMNetSegmenter
    ) -> None:
        self.done = 0
        self._args, self._segmenter = args, segmenter
        # As JSON gives it back, so that tuples compare equal.
        self._run = json.loads(json.dumps(_describe_run(args, source, segmenter)))
        self._images = dict(enumerate(source.paths or ()))
        self._folder: Path = args.output / FOLDER
        self._description = self._folder / "run.json"
        self._journal = self._folder / "frames.jsonl"
        self._session = self._folder / "session.safetensors"
        # Frames that come only once, as from a camera, leave nothing to resume.
        self._interval: float | None = args.checkpoint if source.reiterable else None
        self._due = time.monotonic() + (self._interval or 0)

    def is_saved(self) -> bool:
        """Whether there is a session to resume."""
        return self._session.exists()

    def remove(self) -> None:
        """Forget the run."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def load(self) -> TrackingSession | None:
        """Return the session that an earlier run of the same command saved; None without one."""
        if not all(p.is_file() for p in (self._description, self._journal, self._session)):
            return None  # stopped before the first save, or while the folder was being removed
        try:
            was = dict(json.loads(self._description.read_text(encoding="utf-8")))
            differences = [
                f"{name} was {shown(was.get(name))} and is {shown(self._run.get(name))}"
                for name in {**self._run, **was}
                if was.get(name) != self._run.get(name)
            ]
            session = None if differences else self._segmenter.load_session(self._session)
        except (ValueError, TypeError, RecursionError, SessionFileError) as error:
            raise self._unusable(f"it is damaged ({error})") from error
        if session is None:
            raise self._unusable(f"it is of another command: {'; '.join(differences)}")
        self.done = (session.frame_index or 0) + 1
        return session

    def results(self, mask_path: Callable[[int], Path]) -> Iterator[FrameSegmentation]:
        """Yield the results up to the session's frame, then drop the lines after it.

        They lack scores, boxes, probabilities and frames. Masks and images must be as they were.
        """
        if self.done == 0:
            return
        with self._journal.open("r+b") as journal:
            for index in range(self.done):
                line = journal.readline()
                try:
                    result = self._read(index, line, mask_path(index))
                except Exception as error:  # damaged bytes raise anything
                    raise self._unusable(f"frame {index} is lost: {error}") from error
                yield result
            journal.truncate(journal.tell())

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Prepare the folder; afterwards remove it if nothing was saved."""
        make_folder(self._args.output)
        if self._folder.exists():  # a run that was killed may have left unfinished files
            remove_unfinished(self._args.output)
            for path in (self._args.overlay, self._args.rle):
                if path is not None:
                    remove_unfinished(path.parent, [path.name])
        if self.done == 0:
            self.remove()
            make_folder(self._folder)
            with written_whole(self._description, durable=True) as unfinished:
                unfinished.write_text(json.dumps(self._run, indent=2), encoding="utf-8")
        try:
            yield
        finally:
            if not self.is_saved():
                self.remove()

    def add(self, result: FrameSegmentation, session: TrackingSession) -> None:
        """Record a frame whose mask has been written; save the session when that is due."""
        interval = self._interval
        if interval is None:
            return
        row = {
            "object_ids": result.object_ids,
            "status": result.status,
            "regions": result.regions.tolist(),
            "seconds": result.seconds,
            "skipped": result.skipped,
            "labels": zlib.crc32(result.labels.tobytes()),
            "image": _identify(self._images.get(result.index)),
        }
        start = time.monotonic()
        is_due = start >= self._due and session.frame_index is not None
        try:
            with self._journal.open("a", encoding="utf-8") as journal:
                journal.write(json.dumps(row) + "\n")
                if is_due:
                    journal.flush()
                    os.fsync(journal.fileno())
        except OSError as error:
            raise output_error(self._folder, error) from error
        if is_due:
            session.save(self._session)
            end = time.monotonic()
            self._due = end + (max(interval, _PATIENCE * (end - start)) if interval else 0)

    def _read(self, index: int, line: bytes, mask: Path) -> FrameSegmentation:
        row = json.loads(line)
        ids = tuple(int(i) for i in row["object_ids"])
        labels = read_label_png(mask).astype(np.int32)
        if row["labels"] != zlib.crc32(labels.tobytes()):
            raise ValueError(f"its mask {str(mask)!r} is not the one that was written")
        if row["image"] != _identify(self._images.get(index)):
            raise ValueError("its image is not the one that was tracked")
        return FrameSegmentation(
            index=index,
            labels=labels,
            object_ids=ids,
            scores=np.zeros(len(ids), np.float32),
            status=tuple(row["status"]),
            boxes=np.zeros((len(ids), 4), np.int32),
            regions=np.array(row["regions"], np.int32).reshape(len(ids), 4),
            seconds=row["seconds"],
            skipped=row["skipped"],
        )

    def _unusable(self, reason: str) -> ConfigError:
        return ConfigError(
            f"{str(self._args.output)!r} holds an unfinished run that cannot be resumed: {reason}. "
            "Write --restart to begin anew, or -o with another folder"
        )


def _describe_run(
    args: argparse.Namespace, source: FrameSource, segmenter: RMNetSegmenter
) -> dict[str, Any]:
    """Return everything the masks depend on, as JSON values by the names a user would look for.

    Image files are missing: `Checkpoint.results` compares them one by one, so that a run may be
    resumed after images were added, or after a damaged one was repaired.
    """
    video = Path(args.video).expanduser()
    masks = {f"mask of frame {frame}": Path(path) for frame, path in args.masks}
    return {
        "format_version": _FORMAT_VERSION,
        "VIDEO": str(video.resolve()),
        "VIDEO's name, bytes and time": _identify(None if source.paths else video),
        **{name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in masks.items()},
        **{f"--{name.replace('_', '-')}": getattr(args, name) for name in _OPTIONS},
        **segmenter.fingerprint._asdict(),
        "device": str(segmenter.device),
        "dtype": str(segmenter.dtype),
        "rmnet": version("rmnet"),
        "torch": torch.__version__,
    }


def _identify(path: Path | None) -> list[str | int] | None:
    """Return a file's name, bytes and time in ns; None if there is none."""
    if path is None or not path.exists():
        return None
    stat = path.stat()
    return [path.name, stat.st_size, stat.st_mtime_ns]
