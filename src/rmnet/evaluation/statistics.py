"""From J and F of every frame to the numbers that papers on DAVIS report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rmnet.errors import ConfigError
from rmnet.evaluation.clip import Row

_RECALL_THRESHOLD = 0.5
_NAMES = tuple(f"{measure}-{name}" for measure in "JF" for name in ("Mean", "Recall", "Decay"))


class Statistics(NamedTuple):
    """One measure of one object, over its frames."""

    mean: float  # in [0, 1]
    recall: float  # in [0, 1], the share of frames above 0.5
    decay: float  # in [-1, 1], mean of the first quarter minus mean of the last; may be NaN


@dataclass(frozen=True, eq=False)
class SequenceScores:
    """J and F of each object in each scored frame: all frames but the first and the last."""

    object_ids: tuple[int, ...]
    jaccard: NDArray[np.float64]  # (n, T - 2) in [0, 1]
    contour_accuracy: NDArray[np.float64]  # (n, T - 2) in [0, 1]

    @property
    def jaccard_statistics(self) -> tuple[Statistics, ...]:
        """Statistics of J of each object."""
        return tuple(mean_recall_decay(row) for row in self.jaccard)

    @property
    def contour_statistics(self) -> tuple[Statistics, ...]:
        """Statistics of F of each object."""
        return tuple(mean_recall_decay(row) for row in self.contour_accuracy)

    def rows(self) -> list[Row]:
        """Return one row per object: id, J&F-Mean, and the statistics of J and F."""
        rows = []
        columns = (self.object_ids, self.jaccard_statistics, self.contour_statistics)
        for object_id, region, contour in zip(*columns, strict=True):
            row: Row = {"id": object_id, "J&F-Mean": (region.mean + contour.mean) / 2}
            rows.append(row | dict(zip(_NAMES, (*region, *contour), strict=True)))
        return rows


def mean_recall_decay(values: NDArray[np.floating] | Sequence[float]) -> Statistics:
    """Summarise one measure (T,) of one object. NaN is skipped, but counts as a miss of the recall.

    A statistic is NaN if there is nothing to average.
    """
    values = np.asarray(values, dtype=np.float64)
    # Bounds of the quarters, halves rounded up. Neighbouring quarters share a frame.
    edges = [((len(values) - 1) * quarter + 2) // 4 for quarter in range(5)]
    # Toolkit: keeps the bounds as uint8, so they wrap around above 256 frames and give wrong or
    # even empty quarters. Kept here because published numbers come from it.
    edges = [edge % 256 for edge in edges]
    first, last = values[edges[0] : edges[1] + 1], values[edges[3] : edges[4] + 1]
    return Statistics(
        mean=_nan_mean(values),
        recall=_nan_mean(values > _RECALL_THRESHOLD),
        decay=_nan_mean(first) - _nan_mean(last),
    )


def summarise_davis(sequences: Iterable[SequenceScores]) -> dict[str, float]:
    """Average over the objects of all sequences.

    Args:
        sequences: One or more. Objects count equally, however long their sequences are.

    Returns:
        J&F-Mean, J-Mean, J-Recall, J-Decay, F-Mean, F-Recall and F-Decay, named as in the
        toolkit. A decay is NaN if that of any object is.

    Raises:
        ConfigError: There are no sequences.
    """
    rows = [row for scores in sequences for row in scores.rows()]
    if not rows:
        raise ConfigError("there are no sequences to average; accepted: one or more")
    return average_rows(rows)


def average_rows(rows: Sequence[Row]) -> dict[str, float]:
    """Average the rows of `SequenceScores.rows`. See `summarise_davis`; {} for no rows."""
    if not rows:
        return {}
    table = np.array([[row[name] for name in _NAMES] for row in rows], np.float64)
    means = dict(zip(_NAMES, table.mean(axis=0).tolist(), strict=True))
    return {"J&F-Mean": (means["J-Mean"] + means["F-Mean"]) / 2, **means}


def _nan_mean(values: NDArray[np.generic]) -> float:
    """Return the mean of the values that are not NaN; NaN, without a warning, if there are none."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")
