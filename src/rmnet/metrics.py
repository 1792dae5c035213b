"""How good masks are. Source: the DAVIS benchmark (Perazzi et al., CVPR 2016)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rmnet.errors import ConfigError, MaskError

VOID = 255  # in a true label map: pixels that do not count

LabelMap = NDArray[np.integer[Any]]


def jaccard(
    prediction: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    *,
    void: NDArray[np.bool_] | None = None,
) -> float:
    """Region similarity J: intersection over union.

    Args:
        prediction: (H, W).
        truth: (H, W).
        void: (H, W), pixels that do not count.

    Returns:
        A number in [0, 1]; 1 where both masks are empty.
    """
    if void is not None:
        prediction, truth = prediction & ~void, truth & ~void
    union = np.count_nonzero(prediction | truth)
    return np.count_nonzero(prediction & truth) / union if union else 1.0


def mean_jaccard(
    labels: Mapping[int, LabelMap],
    truth: Mapping[int, LabelMap] | Sequence[LabelMap] | LabelMap,
    *,
    object_ids: Iterable[int] = (),
) -> dict[int, float]:
    """Mean J of every object over the frames in which it had to be found.

    Scored are the objects of the truth's first map, and of `object_ids` those that the truth
    shows later. An object's frames are those of the truth after the first that shows it: there
    its mask was given, so there is nothing to score. An object that the prediction lacks counts
    as empty there; where truth and prediction are both empty, J is 1.

    Args:
        labels: The tracker's label maps (H, W) by number of the frame.
        truth: The true label maps (H, W), 0 background, 255 void: by number of the frame, not
            every frame needing one; or of all the frames of `labels`, in order.
        object_ids: More objects to score than those of the first map, such as those given later.

    Returns:
        Id -> J in [0, 1], by ascending id. Objects with no frame to be found in are left out.

    Raises:
        ConfigError: the truth is empty, or has other frames than were tracked.
        MaskError: a true map is not integers of the size of the tracker's.
    """
    if not isinstance(truth, Mapping):
        if len(truth) != len(labels):
            raise ConfigError(
                f"the truth has {len(truth)} label maps for {len(labels)} tracked frames; "
                "accepted: one a frame. Write {number of the frame: label map} for some frames"
            )
        truth = dict(zip(sorted(labels), truth, strict=True))
    missing = sorted(set(truth) - set(labels))
    if missing or not truth:
        raise ConfigError(
            f"the truth has the frames {sorted(truth)[:5]}..., of which {missing[:5]} were not "
            "tracked; accepted: at least one, and only tracked ones"
        )
    more = set(object_ids)
    first = min(truth)
    scores: dict[int, list[float]] = {}
    for index in sorted(truth):
        expected, predicted = np.asarray(truth[index]), labels[index]
        if expected.dtype.kind not in "iu" or expected.shape != predicted.shape:
            raise MaskError(
                f"the truth of frame {index} is {expected.dtype} of shape {expected.shape}; "
                f"accepted: integers of shape {predicted.shape}, ids as tracked"
            )
        void = expected == VOID
        for object_id, values in scores.items():
            values.append(jaccard(predicted == object_id, expected == object_id, void=void))
        # Only now: the frame that shows an object first is not scored.
        for object_id in np.unique(expected[~void & (expected > 0)]).tolist():
            if object_id not in scores and (index == first or object_id in more):
                scores[object_id] = []
    return {i: sum(values) / len(values) for i, values in sorted(scores.items()) if values}
