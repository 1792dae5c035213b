"""The protocol of YouTube-VOS over label maps: objects that appear later, seen and unseen ones.

Source: Xu et al., "YouTube-VOS: A Large-Scale Video Object Segmentation Benchmark", 2018.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rmnet.errors import ConfigError, MaskError
from rmnet.io import VOID
from rmnet.metrics import LabelMap, contour_accuracy, jaccard


@dataclass(frozen=True, slots=True)
class MetaObject:
    """What meta.json says of one object.

    Attributes:
        category: Such as "dog".
        frames: Names of the frames in which it is annotated, ascending; empty if it does not say.
    """

    category: str
    frames: tuple[str, ...]


class ObjectScore(NamedTuple):
    """Means of one object over its frames; None without one to be found in."""

    jaccard: float | None  # in [0, 1]
    contour_accuracy: float | None  # in [0, 1]
    num_frames: int


def read_meta(path: str | Path) -> dict[str, dict[int, MetaObject]]:
    """Read a meta.json.

    Args:
        path: The file: {"videos": {name: {"objects": {"1": {"category": ..., "frames": [...]}}}}}.

    Returns:
        Name of the video -> id -> object, both ascending.

    Raises:
        ConfigError: no such file, or not of that form.
    """
    path = Path(path)
    form = '{"videos": {name: {"objects": {"1": {"category": ..., "frames": ["00000", ...]}}}}}'
    try:
        videos = json.loads(path.read_text(encoding="utf-8"))["videos"]
        return {
            name: {
                _object_id(i): MetaObject(str(one["category"]), _frame_names(one))
                for i, one in sorted(video["objects"].items(), key=lambda pair: int(pair[0]))
            }
            for name, video in sorted(videos.items())
        }
    except FileNotFoundError as error:
        raise ConfigError(f"there is no file {str(path)!r}; accepted: meta.json, {form}") from error
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError) as error:
        raise ConfigError(
            f"{str(path)!r} cannot be understood ({type(error).__name__}: {error}); accepted: {form}"
        ) from error


def _object_id(text: str) -> int:
    if not 1 <= int(text) < 2**31:
        raise ValueError(f"the object {text!r}")
    return int(text)


def _frame_names(one: Mapping[str, Any]) -> tuple[str, ...]:
    names = one.get("frames", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TypeError("frames is no list of names")
    return tuple(sorted(names))


def first_masks(
    annotations: Mapping[str, LabelMap], object_ids: Collection[int]
) -> dict[str, dict[int, NDArray[np.bool_]]]:
    """The masks that a tracker is given: of each object the first, and nothing later.

    Args:
        annotations: Label maps (H, W) by name of the frame, 0 background, 255 void.
        object_ids: The objects of the video; other ids are left out.

    Returns:
        Name of the frame -> id -> mask (H, W), frames ascending.

    Raises:
        MaskError: an object that no annotation shows.
    """
    masks: dict[str, dict[int, NDArray[np.bool_]]] = {}
    missing = set(object_ids)
    for name, labels in sorted(annotations.items()):
        new = [i for i in np.unique(labels).tolist() if i in missing and i != VOID]
        if new:
            masks[name] = {i: labels == i for i in new}
            missing -= set(new)
    if missing:
        raise MaskError(
            f"the objects {sorted(missing)} are in no annotation; accepted: every object that "
            "meta.json lists shown in a PNG of the video"
        )
    return masks


def score_objects(
    predictions: Mapping[str, LabelMap],
    truth: Mapping[str, LabelMap],
    objects: Mapping[int, MetaObject],
) -> dict[int, ObjectScore]:
    """J and F of each object, averaged over its annotated frames after its first.

    An object's frames are those that meta.json gives it and the truth has; if meta.json gives
    none, all of the truth. The first is the one that shows it first: there its mask was given.

    Args:
        predictions: Label maps (H, W) by name of the frame, for every scored frame at least.
        truth: True label maps (H, W) by name of the frame, 0 background, 255 void.
        objects: As `read_meta` gives them.

    Returns:
        Id -> means.

    Raises:
        MaskError: an object that the truth never shows, a frame without prediction, or one of
            another size.
    """
    given = {i: name for name, masks in first_masks(truth, objects).items() for i in masks}
    scores = {}
    for object_id, one in objects.items():
        later = [name for name in sorted(truth) if name > given[object_id]]
        names = [name for name in later if not one.frames or name in one.frames]
        pairs = []
        for name in names:
            if name not in predictions:
                raise MaskError(f"frame {name!r} has no prediction; accepted: one a true map")
            predicted, expected = predictions[name] == object_id, truth[name] == object_id
            void = truth[name] == VOID
            pairs.append([f(predicted, expected, void=void) for f in (jaccard, contour_accuracy)])
        means = np.mean(pairs, axis=0).tolist() if pairs else (None, None)
        scores[object_id] = ObjectScore(means[0], means[1], len(pairs))
    return scores


def summarise(
    scores: Iterable[tuple[str, ObjectScore]], *, unseen: Collection[str]
) -> dict[str, float]:
    """The numbers that papers report: means over objects, seen and unseen categories apart.

    Args:
        scores: Category and means of each object; those without frames do not count.
        unseen: Categories that training does not have.

    Returns:
        Overall, J-Seen, F-Seen, J-Unseen and F-Unseen; overall is the mean of the others. Without
        objects of one kind its numbers are left out, of the mean too.
    """
    values: dict[str, list[float]] = {}
    for category, score in scores:
        kind = "Unseen" if category in unseen else "Seen"
        if score.jaccard is not None and score.contour_accuracy is not None:
            values.setdefault(f"J-{kind}", []).append(score.jaccard)
            values.setdefault(f"F-{kind}", []).append(score.contour_accuracy)
    means = {
        name: sum(values[name]) / len(values[name]) for name in sorted(values, key=_kind_first)
    }
    return {"Overall": sum(means.values()) / len(means), **means} if means else {}


def _kind_first(name: str) -> tuple[bool, bool]:
    """A sorting key: seen before unseen, J before F."""
    return "Unseen" in name, name[0] == "F"
