"""Measures of masks. Source: the DAVIS benchmark (Perazzi et al., CVPR 2016)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rmnet.errors import ConfigError, MaskError
from rmnet.io import VOID, as_binary_video, has_void
from rmnet.metrics.contours import Mask, match_contours

_CONTOUR_BOUND = 0.008  # share of the frame's diagonal within which contours agree (DAVIS)

LabelMap = NDArray[np.integer[Any]]


def jaccard(prediction: Mask, truth: Mask, *, void: Mask | None = None) -> float:
    """Compute the region similarity J: intersection over union.

    Args:
        prediction: (H, W) bool.
        truth: (H, W) bool.
        void: (H, W) bool, pixels to ignore.

    Returns:
        J in [0, 1]; 1 if both masks are empty.

    Raises:
        MaskError: The masks are not bool, or not of one size.
    """
    prediction, truth = _without_void(prediction, truth, void)
    union = np.count_nonzero(prediction | truth)
    return np.count_nonzero(prediction & truth) / union if union else 1.0


def contour_accuracy(
    prediction: Mask, truth: Mask, *, void: Mask | None = None, bound: float = _CONTOUR_BOUND
) -> float:
    """Compute the contour accuracy F: the harmonic mean of precision and recall of contours.

    A pixel is on a mask's contour if it differs from its right, lower or lower right neighbour.
    Precision is the share of the predicted contour within a disk of the true one; recall is the
    share of the true contour within a disk of the predicted one.

    Args:
        prediction: (H, W) bool.
        truth: (H, W) bool.
        void: (H, W) bool, pixels that belong to neither mask.
        bound: Radius of the disk, rounded up to whole px: a share of the frame's diagonal if
            below 1, else px.

    Returns:
        F in [0, 1]; 1 if neither mask has a contour, 0 if only one has.

    Raises:
        MaskError: See `jaccard`.
        ConfigError: The bound is negative or not finite.

    Source: Perazzi et al., CVPR 2016; bound and contour as in davis2017-evaluation.
    """
    if not 0 <= bound < math.inf:
        raise ConfigError(
            f"bound is {bound}; accepted: a share of the diagonal in [0, 1), or px from 1 on"
        )
    prediction, truth = _without_void(prediction, truth, void)
    diagonal = math.hypot(*truth.shape)
    radius = math.ceil(min(bound if bound >= 1 else bound * diagonal, diagonal))
    predicted, true, predicted_near, true_near = match_contours(prediction, truth, radius=radius)
    if not predicted or not true:
        return float(predicted == true)
    precision, recall = predicted_near / predicted, true_near / true
    both = precision + recall
    return 2 * precision * recall / both if both else 0.0


def mean_jaccard(
    labels: Mapping[int, LabelMap],
    truth: Mapping[int, LabelMap] | Sequence[LabelMap] | LabelMap,
    *,
    object_ids: Iterable[int] = (),
) -> dict[int, float]:
    """Compute the mean J of every object over the frames in which it had to be found.

    Scored are the objects of the truth's first map, and those of `object_ids` that the truth
    shows later. The frames of an object are those of the truth after the first that shows it: in
    that frame its mask was given. An object missing from the prediction counts as empty; J is 1
    where truth and prediction are both empty.

    Args:
        labels: Tracked label maps (H, W) by frame number.
        truth: True label maps (H, W), 0 background, 255 void: of some frames, by frame number, or
            of all frames of `labels`, in order. Maps of 0 and 255 alone are masks of object 1, and
            nothing is void where an id is above 255.
        object_ids: Ids of further objects to score, such as those added later.

    Returns:
        Id -> J in [0, 1], by ascending id. Objects without scored frames are left out.

    Raises:
        ConfigError: The truth is empty or has frames that were not tracked.
        MaskError: A true map is not integers of the size of the tracked one.
    """
    if not isinstance(truth, Mapping):
        if len(truth) != len(labels):
            raise ConfigError(
                f"the truth has {len(truth)} label maps for {len(labels)} tracked frames; accepted: "
                "one per frame, or {frame number: label map}"
            )
        truth = dict(zip(sorted(labels), truth, strict=True))
    missing = sorted(set(truth) - set(labels))
    if missing or not truth:
        raise ConfigError(
            f"the truth has {len(truth)} frames, of which {missing[:5]} were not tracked; "
            "accepted: at least one, and only tracked ones"
        )
    maps = {index: np.asarray(truth[index]) for index in sorted(truth)}
    for index, expected in maps.items():
        if expected.dtype.kind not in "iu" or expected.shape != labels[index].shape:
            raise MaskError(
                f"the truth of frame {index} is {expected.dtype} of shape {expected.shape}; "
                f"accepted: integers of shape {labels[index].shape}, ids as tracked"
            )
    maps, voids, more = as_binary_video(maps), has_void(*maps.values()), set(object_ids)
    first = min(maps)
    scores: dict[int, list[float]] = {}
    for index, expected in maps.items():
        predicted = labels[index]
        void = (expected == VOID) & voids
        for object_id, values in scores.items():
            values.append(jaccard(predicted == object_id, expected == object_id, void=void))
        # After scoring: the frame that shows an object first is not scored.
        for object_id in np.unique(expected[~void & (expected > 0)]).tolist():
            if object_id not in scores and (index == first or object_id in more):
                scores[object_id] = []
    return {i: sum(values) / len(values) for i, values in sorted(scores.items()) if values}


def _without_void(prediction: Mask, truth: Mask, void: Mask | None) -> tuple[Mask, Mask]:
    """Check both masks and return them without the pixels to ignore."""
    for name, mask in (("truth", truth), ("prediction", prediction), ("void", void)):
        if mask is None:
            continue
        if mask.dtype != np.bool_ or mask.ndim != 2 or mask.shape != truth.shape:
            raise MaskError(
                f"{name} is {mask.dtype} of shape {mask.shape}; accepted: bool (H, W) of the "
                f"truth's size, {truth.shape[-2:]}. Write labels == id for one object's mask"
            )
    return (prediction, truth) if void is None else (prediction & ~void, truth & ~void)
