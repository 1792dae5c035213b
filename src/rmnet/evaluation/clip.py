"""What a benchmark is: clips, the masks given in each, and how its predictions are scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rmnet.metrics import LabelMap

# One object's numbers under the names that results.json has: "id", "J-Mean", "F-Mean", ...
Row = dict[str, Any]
ReadPrediction = Callable[[str], LabelMap]  # name of a frame -> (H, W) ids


@dataclass(frozen=True, slots=True, eq=False)
class EvaluationClip:
    """One clip of a benchmark; its files are read when they are asked for.

    Attributes:
        name: Of the clip, which is also that of the folder of its predictions.
        images: Its frames, in order.
        given: Reads what the tracker is told: mask by the number of the frame, from 0.
        score: Gives a row an object, from a function that reads a prediction (H, W) by the name
            (stem) of its frame; None of a clip without true masks.
        zero: Gives the rows of the same objects with J and F of 0, for a clip that failed.
        asked: Names of the frames whose prediction is kept; all of them, if empty.
        predictions: Folder of predictions that are there already; None if it is to be tracked.
    """

    name: str
    images: tuple[Path, ...]
    given: Callable[[], Mapping[int, Any]]
    score: Callable[[ReadPrediction], list[Row]] | None
    zero: Callable[[], list[Row]]
    asked: frozenset[str] = frozenset()
    predictions: Path | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Benchmark:
    """Clips, and what to make of their rows.

    Attributes:
        options: What tells it from others: JSON, compared when a run is taken up again.
        clips: In the order of the table.
        average: Means of the benchmark over the rows of all objects, by name; of none, none.
        folder: Where in the output the predictions go; "" for its top.
    """

    options: Mapping[str, Any]
    clips: Sequence[EvaluationClip]
    average: Callable[[Sequence[Row]], dict[str, float]]
    folder: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class ClipResult:
    """What is recorded of one clip.

    Attributes:
        name: Of the clip.
        rows: An object each; of a clip that failed with J and F of 0.
        num_frames: That were tracked, or compared.
        seconds_a_frame: Reading, tracking and writing; None where nothing was tracked.
        error: Why it failed, if it did.
        scored: Whether the clip has true masks to compare with.
        recorded: Whether an earlier run did it.
    """

    name: str
    rows: list[Row] = field(default_factory=list)
    num_frames: int = 0
    seconds_a_frame: float | None = None
    error: str | None = None
    scored: bool = True
    recorded: bool = False
