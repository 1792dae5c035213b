"""How good masks are. Source: the DAVIS benchmark (Perazzi et al., CVPR 2016)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rmnet.errors import ConfigError, MaskError
from rmnet.io import VOID
from rmnet.metrics.contours import match_contours

CONTOUR_BOUND = 0.008  # of the frame's diagonal: contours this near agree (DAVIS)

LabelMap = NDArray[np.integer[Any]]
Mask = NDArray[np.bool_]


def jaccard(prediction: Mask, truth: Mask, *, void: Mask | None = None) -> float:
    """Region similarity J: intersection over union.

    Args:
        prediction: (H, W) bool.
        truth: (H, W) bool.
        void: (H, W) bool, pixels that do not count.

    Returns:
        A number in [0, 1]; 1 where both masks are empty.

    Raises:
        MaskError: the masks are not bool, or not of one size.
    """
    prediction, truth = _without_void(prediction, truth, void)
    union = np.count_nonzero(prediction | truth)
    return np.count_nonzero(prediction & truth) / union if union else 1.0


def contour_accuracy(
    prediction: Mask, truth: Mask, *, void: Mask | None = None, bound: float = CONTOUR_BOUND
) -> float:
    """Contour accuracy F: the harmonic mean of the contours' precision and recall.

    A pixel is of a mask's contour if it differs from its right, lower or lower right neighbour.
    Precision is the share of the predicted contour with a pixel of the true one within a disk;
    recall is the share of the true contour with one of the predicted within it.

    Args:
        prediction: (H, W) bool.
        truth: (H, W) bool.
        void: (H, W) bool, pixels that belong to neither mask.
        bound: Radius of the disk, rounded up to px: below 1 a share of the frame's diagonal,
            from 1 on px.

    Returns:
        A number in [0, 1]; 1 where neither mask has a contour, 0 where one alone has.

    Raises:
        MaskError: the masks are not bool, or not of one size.
        ConfigError: the bound is negative, or no number.

    Source: Perazzi et al., CVPR 2016; bound and contour as in davis2017-evaluation.
    """
    if not 0 <= bound < math.inf:
        raise ConfigError(
            f"bound is {bound}; accepted: a share of the diagonal in [0, 1) or px from 1 on. "
            f"Write bound={CONTOUR_BOUND} for DAVIS"
        )
    prediction, truth = _without_void(prediction, truth, void)
    diagonal = math.hypot(*truth.shape)
    radius = math.ceil(min(bound if bound >= 1 else bound * diagonal, diagonal))
    match = match_contours(prediction, truth, radius=radius)
    if not match.first or not match.second:
        return float(match.first == match.second)
    precision = match.first_near_second / match.first
    recall = match.second_near_first / match.second
    both = precision + recall
    return 2 * precision * recall / both if both else 0.0


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


def _without_void(prediction: Mask, truth: Mask, void: Mask | None) -> tuple[Mask, Mask]:
    """Both masks, checked, without the pixels that do not count."""
    for name, mask in (("truth", truth), ("prediction", prediction), ("void", void)):
        if mask is not None and (mask.dtype != np.bool_ or mask.ndim != 2):
            raise MaskError(
                f"{name} is {mask.dtype} of shape {mask.shape}; accepted: bool (H, W). "
                "Write labels == id for the mask of one object"
            )
        if mask is not None and mask.shape != truth.shape:
            raise MaskError(
                f"{name} is of shape {mask.shape}; accepted: that of the truth, {truth.shape}. "
                "Score masks of the frame's own size"
            )
    return (prediction, truth) if void is None else (prediction & ~void, truth & ~void)
