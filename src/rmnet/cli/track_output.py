"""What `rmnet track` writes: masks, overlay and run lengths, frame by frame."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rmnet.cli.rows_file import RowsFile
from rmnet.errors import VideoError
from rmnet.io import VideoWriter, make_folder, write_label_png
from rmnet.results import DEFAULT_RATE

if TYPE_CHECKING:
    from rmnet.results import FrameSegmentation

_LISTED = 4  # spans of frames named in the summary, an object


class TrackOutput:
    """Writes results as they come, and keeps count; a context manager, which closes the files.

    Args:
        directory: Of the masks; made if need be.
        names: Of the masks without suffix, a frame each; None for 00000 and on.
        overlay: Video to write, if any.
        frames_per_second: Of the video, if known.
        show_regions: Whether the overlay has the search regions.
        rle: JSON file of COCO run lengths to write, if any.
    """

    def __init__(
        self,
        directory: Path,
        *,
        names: Sequence[str] | None,
        overlay: Path | None,
        frames_per_second: float | None,
        show_regions: bool,
        rle: Path | None,
    ) -> None:
        self.num_frames = 0
        self._num_past = 0  # of them, those of an earlier run
        self._directory, self._names = directory, names
        self._overlay, self._rle = overlay, rle
        self._rate = frames_per_second or DEFAULT_RATE
        self._show_regions = show_regions
        self._video: VideoWriter | None = None
        self._rle_file: RowsFile | None = None
        self._ids: set[int] = set()
        self._skipped: list[tuple[int, int]] = []  # first and last frame of spans
        self._lost: dict[int, list[tuple[int, int]]] = {}  # id -> first and last frame of spans
        self._files = ExitStack()

    def __enter__(self) -> TrackOutput:
        """Open the files."""
        with ExitStack() as files:  # closes what is open, should the next not open
            make_folder(self._directory)
            if self._overlay is not None:
                writer = VideoWriter(self._overlay, frames_per_second=self._rate)
                self._video = files.enter_context(writer)
            if self._rle is not None:
                self._rle_file = files.enter_context(RowsFile(self._rle))
            self._files = files.pop_all()
        return self

    def mask_path(self, index: int) -> Path:
        """The file of a frame's mask."""
        return self._directory / f"{self._name(index)}.png"

    def write(self, frame: NDArray[np.uint8] | VideoError, result: FrameSegmentation) -> None:
        """Write what was found in a frame (H, W, 3); of one that was skipped, an empty mask.

        The overlay has no such frame: the one before it is shown longer.
        """
        path = self.mask_path(result.index)
        write_label_png(path, result.labels, object_ids=self._ids.union(result.object_ids))
        self._add(frame, result)

    def write_past(self, frame: NDArray[np.uint8] | VideoError, result: FrameSegmentation) -> None:
        """Write again what an earlier run found in a frame, whose mask is there already."""
        self._add(frame, result)
        self._num_past += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Finish the files."""
        self._files.__exit__(kind, exception, traceback)

    def summary(self, seconds: float, *, stopped: bool) -> str:
        """One line: how much, how fast, where it is, and which objects were lost when.

        Args:
            seconds: That it took; frames of an earlier run count for nothing.
            stopped: Whether it ended before the video did.
        """
        ids = ", ".join(map(str, sorted(self._ids)))
        places = [f"masks in {self._directory}"]
        places += [f"overlay in {self._overlay}"] if self._overlay is not None else []
        places += [f"run lengths in {self._rle}"] if self._rle is not None else []
        lost = [f"skipped, since not readable: {_spans(self._skipped)}"] if self._skipped else []
        lost += [f"object {i} lost in {_spans(spans)}" for i, spans in sorted(self._lost.items())]
        return (
            f"{'stopped after ' if stopped else ''}{_count(self.num_frames, 'frame')}, "
            f"{_count(len(self._ids), 'object')} ({ids or 'none'}), "
            f"{seconds / max(1, self.num_frames - self._num_past):.3f} s a frame; "
            f"{', '.join(places)}; "
            f"{', '.join(lost) or 'none lost'}"
        )

    def _name(self, index: int) -> str:
        return f"{index:05d}" if self._names is None else self._names[index]

    def _add(self, frame: NDArray[np.uint8] | VideoError, result: FrameSegmentation) -> None:
        """All but the mask."""
        self._ids.update(result.object_ids)
        if self._video is not None and not isinstance(frame, VideoError):
            picture = result.overlay(frame, show_regions=self._show_regions)
            self._video.write(picture, result.seconds)
        if self._rle_file is not None:
            row = {
                "frame": result.index,
                "name": self._name(result.index),
                "seconds": result.seconds,
                "objects": result.to_rle(),  # JSON makes the ids strings
            }
            row |= {} if result.skipped is None else {"skipped": result.skipped}
            self._rle_file.write(row)
        self._count(result)

    def _count(self, result: FrameSegmentation) -> None:
        self.num_frames += 1
        if result.skipped is not None:
            _extend(self._skipped, result.index)
        for object_id, status in zip(result.object_ids, result.status, strict=True):
            if status == "lost":
                _extend(self._lost.setdefault(object_id, []), result.index)


def _extend(spans: list[tuple[int, int]], index: int) -> None:
    """Add a frame to spans of frames, first and last of each."""
    goes_on = bool(spans) and spans[-1][1] == index - 1
    first = spans.pop()[0] if goes_on else index
    spans.append((first, index))


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _spans(spans: list[tuple[int, int]]) -> str:
    """Such as "frames 3-7, 9"."""
    listed = [str(a) if a == b else f"{a}-{b}" for a, b in spans[:_LISTED]]
    more = len(spans) - _LISTED
    text = ", ".join(listed) + (f" and {_count(more, 'more span')}" if more > 0 else "")
    return f"frame {text}" if len(spans) == 1 and spans[0][0] == spans[0][1] else f"frames {text}"
