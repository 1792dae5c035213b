"""The protocols of DAVIS 2016 and 2017 over label maps.

Source: Perazzi et al., CVPR 2016; Pont-Tuset et al., 2017; numbers as davis2017-evaluation's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rmnet.errors import ConfigError, MaskError
from rmnet.io import VOID
from rmnet.metrics import LabelMap, contour_accuracy, jaccard

RECALL_THRESHOLD = 0.5


class Statistics(NamedTuple):
    """What DAVIS says of a measure over the frames of one object."""

    mean: float  # in [0, 1]
    recall: float  # in [0, 1], the share of frames above 0.5
    decay: float  # in [-1, 1], the mean of the first quarter less that of the last; may be NaN


@dataclass(frozen=True, eq=False)
class SequenceScores:
    """J and F of each object in each scored frame, which are all but the first and the last."""

    object_ids: tuple[int, ...]
    jaccard: NDArray[np.float64]  # (n, T - 2) in [0, 1]
    contour_accuracy: NDArray[np.float64]  # (n, T - 2) in [0, 1]

    @property
    def jaccard_statistics(self) -> tuple[Statistics, ...]:
        """Mean, recall and decay of J, an object each."""
        return tuple(mean_recall_decay(row) for row in self.jaccard)

    @property
    def contour_statistics(self) -> tuple[Statistics, ...]:
        """Mean, recall and decay of F, an object each."""
        return tuple(mean_recall_decay(row) for row in self.contour_accuracy)


def evaluate_sequence(
    labels: Sequence[LabelMap] | LabelMap,
    truth: Sequence[LabelMap] | LabelMap,
    *,
    year: int = 2017,
) -> SequenceScores:
    """J and F of one sequence, the first and last frame left out.

    Scored are the objects of the truth's first frame, whatever their ids. One that the prediction
    lacks counts as empty there; ids that only the prediction has are left out.

    Args:
        labels: The predicted label maps, (T, H, W) or T of (H, W), integers; the first and the
            last may hold anything.
        truth: The true label maps, likewise, 0 background, 255 void.
        year: 2017 scores object by object; 2016 scores all of them as one, with id 1.

    Returns:
        The scores, objects by ascending id.

    Raises:
        ConfigError: another year, fewer than three frames, or not as many of both.
        MaskError: maps that are not integers of one size, or no object in the truth's first.
    """
    if year not in (2016, 2017):
        raise ConfigError(f"year is {year!r}; accepted: 2016 or 2017. Write year=2017")
    if len(labels) != len(truth) or len(truth) < 3:
        raise ConfigError(
            f"{len(labels)} label maps came for {len(truth)} true ones; accepted: as many, at "
            "least 3. Give the maps of all frames, the first and last too"
        )
    object_ids = [int(i) for i in np.unique(truth[0]) if i not in (0, VOID)]
    # Toolkit: counts from 1 to the first frame's highest id, and stops at predictions above it.
    if not object_ids:
        raise MaskError(
            "the truth's first frame shows no object; accepted: ids other than 0 and 255, which "
            "is void. Read masks of 0 and 255 with rmnet.io.label_png.read_label_png"
        )
    scores = []
    for index in range(1, len(truth) - 1):
        predicted, expected = np.asarray(labels[index]), np.asarray(truth[index])
        _check_maps(predicted, expected, np.shape(truth[0]), index)
        void = expected == VOID
        if year == 2016:
            pairs = [(predicted != 0, (expected != 0) & ~void)]
        else:
            pairs = [(predicted == i, expected == i) for i in object_ids]
        void = void if void.any() else None
        scores.append(
            [[f(*pair, void=void) for pair in pairs] for f in (jaccard, contour_accuracy)]
        )
    region, contour = np.array(scores, dtype=np.float64).transpose(1, 2, 0)
    return SequenceScores((1,) if year == 2016 else tuple(object_ids), region, contour)


def mean_recall_decay(values: NDArray[np.floating] | Sequence[float]) -> Statistics:
    """Mean, recall and decay of one measure of one object.

    Args:
        values: (T,) in [0, 1]; NaN where there is no value, which the mean and the decay leave
            out and the recall counts as missed.

    Returns:
        The three numbers; NaN where there is nothing to average.
    """
    values = np.asarray(values, dtype=np.float64)
    # Bounds of the quarters, halves rounded up; neighbours share a frame.
    edges = [((len(values) - 1) * quarter + 2) // 4 for quarter in range(5)]
    # Toolkit: keeps the bounds as uint8, so that above 256 frames they wrap around: wrong
    # quarters, empty ones with NaN among them. Kept, since published numbers come from it.
    edges = [edge % 256 for edge in edges]
    first, last = values[edges[0] : edges[1] + 1], values[edges[3] : edges[4] + 1]
    return Statistics(
        mean=_nan_mean(values),
        recall=_nan_mean(values > RECALL_THRESHOLD),
        decay=_nan_mean(first) - _nan_mean(last),
    )


def summarise(sequences: Iterable[SequenceScores]) -> dict[str, float]:
    """The numbers that papers report: averages over the objects of all sequences.

    Args:
        sequences: One or more; an object of a long sequence counts as one of a short one.

    Returns:
        J&F-Mean, J-Mean, J-Recall, J-Decay, F-Mean, F-Recall and F-Decay, as the toolkit names
        them. A decay is NaN if one object's is.

    Raises:
        ConfigError: there are no sequences.
    """
    sequences = list(sequences)
    if not sequences:
        raise ConfigError("there are no sequences to average; accepted: one or more")
    return average_objects(
        [row for scores in sequences for row in scores.jaccard_statistics],
        [row for scores in sequences for row in scores.contour_statistics],
    )


def average_objects(
    jaccard: Sequence[Statistics], contour_accuracy: Sequence[Statistics]
) -> dict[str, float]:
    """The averages of `summarise`, from the statistics of each object.

    Args:
        jaccard: Of J, an object each; one or more.
        contour_accuracy: Of F, likewise.

    Returns:
        As `summarise`.
    """
    region, contour = np.array(jaccard, np.float64), np.array(contour_accuracy, np.float64)
    numbers = [*region.mean(axis=0).tolist(), *contour.mean(axis=0).tolist()]
    names = [f"{measure}-{name}" for measure in "JF" for name in ("Mean", "Recall", "Decay")]
    return {"J&F-Mean": (numbers[0] + numbers[3]) / 2, **dict(zip(names, numbers, strict=True))}


def _check_maps(predicted: LabelMap, expected: LabelMap, size: tuple[int, ...], index: int) -> None:
    """Both maps of one frame are integers of the sequence's size."""
    for name, labels in (("prediction", predicted), ("truth", expected)):
        if labels.dtype.kind not in "iu" or labels.ndim != 2 or labels.shape != size:
            raise MaskError(
                f"the {name} of frame {index} is {labels.dtype} of shape {labels.shape}; "
                f"accepted: integers {size}, like the truth's first. Write labels.astype(np.int32) "
                "for ids in floats or bool; score at the truth's own size"
            )


def _nan_mean(values: NDArray[np.generic]) -> float:
    """Mean of what is not NaN; NaN without a warning if nothing is left."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")
