"""The table of `rmnet eval`: a line a clip, then the means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rmnet.evaluation import ClipResult

_MEASURES = ("J-Mean", "F-Mean", "J&F-Mean")


def header(width: int) -> str:
    """Names of the columns.

    Args:
        width: Characters of the first one, at least.
    """
    columns = f"{'frames':>7}{'objects':>8}{'J':>8}{'F':>8}{'J&F':>8}{'s/frame':>9}"
    return f"{'clip':<{max(width, 4)}}{columns}"


def clip_line(result: ClipResult, width: int) -> str:
    """One clip: means over its objects; "-" where there is no number.

    Args:
        result: Of the clip.
        width: As of `header`.
    """
    cells = [f"{result.num_frames:>7}", f"{len(result.rows) or '-':>8}"]
    for name in _MEASURES:
        values = [row[name] for row in result.rows if row[name] is not None]
        cells.append(f"{sum(values) / len(values):>8.3f}" if values else f"{'-':>8}")
    seconds = result.seconds_a_frame
    cells.append(f"{'-':>9}" if seconds is None else f"{seconds:>9.3f}")
    notes = ["done before"] if result.recorded else []
    notes += [] if result.scored else ["not scored: no true masks"]
    notes += [] if result.error is None else [f"FAILED: {result.error}"]
    return f"{result.name:<{max(width, 4)}}{''.join(cells)}  {'; '.join(notes)}".rstrip()


def summary(results: Sequence[ClipResult], average: Mapping[str, float]) -> str:
    """The means over the objects of all clips, and what failed.

    Args:
        results: Of all clips.
        average: The benchmark's numbers by name.
    """
    scored = [result for result in results if result.scored]
    num_objects = sum(row["J-Mean"] is not None for result in scored for row in result.rows)
    failed = [result.name for result in results if result.error is not None]
    counts = f"{_count(len(scored), 'clip')}, {_count(num_objects, 'object')}"
    numbers = ", ".join(f"{name} {value:.3f}" for name, value in average.items())
    lines = [f"mean over {counts}: {numbers}" if average else "nothing was scored"]
    if failed:
        zero = ", which scores 0" if len(failed) == 1 else ", which score 0"
        lines.append(f"failed: {', '.join(failed)}{zero if average else ''}")
    return "\n".join(lines)


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
