"""The parts of a benchmark: clips to track and score, their files, and the result of each."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rmnet.errors import ConfigError
from rmnet.io import open_frames

# What takes a path out of its folder on some system, or cannot be written in a path at all.
# U+DC80 to U+DCFF can: they stand for the bytes of names that are not UTF-8.
_NO_FOLDER_NAME = re.compile(r"[/\\\0\ud800-\udc7f\udd00-\udfff]|^\.{0,2}\Z")
_LONGEST_NAME = 255  # bytes of a file name, on nearly every file system

# The numbers of one object by their names in results.json: "id", "J-Mean", "F-Mean", ...
Row = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class EvaluationClip(ABC):
    """One clip of a benchmark. Its files are read only when a method needs them."""

    name: str  # also of the folder of its predictions
    images: tuple[Path, ...]  # in order
    annotations: tuple[Path, ...]  # true label PNGs, in order
    predictions: Path | None = field(default=None, kw_only=True)  # folder; None: to be tracked

    @property
    @abstractmethod
    def scored(self) -> bool:
        """Whether the true masks needed for scoring exist."""

    @property
    def kept(self) -> frozenset[str]:
        """Names of the frames whose predictions are written; empty for all frames."""
        return frozenset()

    @abstractmethod
    def given(self) -> Mapping[int, Any]:
        """Read the masks given to the tracker, by frame number from 0."""

    @abstractmethod
    def score(self, predictions: Path) -> list[Row]:
        """Score a folder of label PNGs named like the frames: one row per object."""

    @abstractmethod
    def zero_rows(self) -> list[Row]:
        """Return the rows of a failed clip: the same objects with J and F of 0."""


@dataclass(frozen=True, slots=True, eq=False)
class Benchmark:
    """Clips and the way to average their scores."""

    options: Mapping[str, Any]  # JSON that identifies it; must be the same for resuming a run
    clips: Sequence[EvaluationClip]
    average: Callable[[Sequence[Row]], dict[str, float]]  # rows of all objects -> means by name
    folder: str = ""  # of the predictions, relative to the output


@dataclass(frozen=True, slots=True, eq=False)
class ClipResult:
    """The result of one clip, with the names of results.json."""

    clip: str  # name
    frames: int = 0  # number tracked or compared
    seconds_a_frame: float | None = None  # to read, track and write; None if nothing was tracked
    error: str | None = None  # reason of a failure, in which case J and F are 0
    scored: bool = True  # whether the clip has true masks
    objects: list[Row] = field(default_factory=list)
    recorded: bool = False  # whether the result is from an earlier run


def images_in(folder: Path) -> tuple[Path, ...]:
    """List the image files of a folder in natural order; none if it is empty or missing."""
    if not folder.is_dir() or not any(one.name[0] != "." for one in folder.iterdir()):
        return ()
    return tuple(open_frames(folder).paths or ())


def require_folders(*folders: Path, layout: str) -> None:
    """Raise a ConfigError that shows the layout if a folder is missing."""
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"there is no folder {str(folder)!r}; accepted: {layout}")


def choose_clips(found: Sequence[str], wanted: Sequence[str] | None) -> list[str]:
    """Return the wanted ones (None for all) of the clips found, in the order of the data set."""
    if not found:
        raise ConfigError("there are no clips; accepted: a data set with at least one")
    for name in found:
        if _NO_FOLDER_NAME.search(name) or len(os.fsencode(name)) > _LONGEST_NAME:
            raise ConfigError(
                f"a clip is called {name[:_LONGEST_NAME]!r}; accepted: names of folders, at most "
                f"{_LONGEST_NAME} bytes"
            )
    for name in wanted or ():
        if name not in found:
            raise ConfigError(f"there is no clip {name!r}; accepted: {', '.join(found)}")
    return [name for name in found if wanted is None or name in wanted]
