"""YouTube-VOS: objects may appear later, and categories that training lacks are averaged apart.

Source: Xu et al., "YouTube-VOS: A Large-Scale Video Object Segmentation Benchmark", 2018.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rmnet.errors import ConfigError, MaskError
from rmnet.evaluation.clip import (
    Benchmark,
    EvaluationClip,
    Row,
    choose_clips,
    images_in,
    require_folders,
)
from rmnet.io import VOID, has_void, read_label_png
from rmnet.metrics import LabelMap, contour_accuracy, jaccard

_LAYOUT = "a root with valid/JPEGImages, valid/Annotations and valid/meta.json, as YouTube-VOS has"
_META = '{"videos": {name: {"objects": {"1": {"category": ..., "frames": ["00000", ...]}}}}}'
_SUBMISSION = "Annotations"  # the folder that the evaluation server accepts


@dataclass(frozen=True, slots=True)
class MetaObject:
    """One object in meta.json."""

    category: str
    frames: tuple[str, ...]  # names of its annotated frames, ascending; empty if not listed


class ObjectScore(NamedTuple):
    """Mean J and F of one object over its scored frames; None if there are none."""

    jaccard: float | None  # in [0, 1]
    contour_accuracy: float | None  # in [0, 1]
    num_frames: int


def first_masks(
    annotations: Mapping[str, LabelMap], object_ids: Collection[int]
) -> dict[str, dict[int, NDArray[np.bool_]]]:
    """Return the first mask of each object: frame name -> id -> mask (H, W), frames ascending."""
    masks: dict[str, dict[int, NDArray[np.bool_]]] = {}
    missing = set(object_ids) - ({VOID} if has_void(*annotations.values()) else set())
    for name, labels in sorted(annotations.items()):
        new = [i for i in np.unique(labels).tolist() if i in missing]
        if new:
            masks[name] = {i: labels == i for i in new}
            missing -= set(new)
    missing |= set(object_ids) - {i for found in masks.values() for i in found}
    if missing:
        raise MaskError(
            f"no annotation shows the objects {sorted(missing)}; accepted: each in a PNG"
        )
    return masks


def score_objects(
    predictions: Mapping[str, LabelMap],
    truth: Mapping[str, LabelMap],
    objects: Mapping[int, MetaObject],
) -> dict[int, ObjectScore]:
    """Score each object in J and F, averaged over its frames after the first that shows it.

    Args:
        predictions: Label maps (H, W) by frame name, at least for the scored frames.
        truth: True label maps (H, W) by frame name; 0 background, 255 void.
        objects: Objects by id. Frames that they list and that have a true map are scored; all
            frames with one if they list none.

    Returns:
        Id -> means.

    Raises:
        MaskError: The truth never shows an object, or a prediction is missing or of another size.
    """
    voids = has_void(*truth.values())
    given = {i: name for name, masks in first_masks(truth, objects).items() for i in masks}
    scores = {}
    for object_id, one in objects.items():
        pairs = []
        for name in sorted(truth):
            if name <= given[object_id] or (one.frames and name not in one.frames):
                continue
            if name not in predictions:
                raise MaskError(f"frame {name!r} has no prediction; accepted: one per true map")
            predicted, expected = predictions[name] == object_id, truth[name] == object_id
            void = (truth[name] == VOID) & voids
            pairs.append([f(predicted, expected, void=void) for f in (jaccard, contour_accuracy)])
        means = np.mean(pairs, axis=0).tolist() if pairs else (None, None)
        scores[object_id] = ObjectScore(means[0], means[1], len(pairs))
    return scores


def summarise_youtube_vos(
    scores: Iterable[tuple[str, ObjectScore]], *, unseen: Collection[str]
) -> dict[str, float]:
    """Average over objects, those of seen and unseen categories apart.

    Args:
        scores: Category and means of each object. Objects without scored frames are ignored.
        unseen: Categories that training lacks.

    Returns:
        Overall, J-Seen, F-Seen, J-Unseen and F-Unseen. Overall is the mean of the others. The
        numbers of a kind without objects are left out, also of Overall.
    """
    values: dict[str, list[float]] = {}
    for category, score in sorted(scores, key=lambda pair: pair[0] in unseen):  # seen ones first
        kind = "Unseen" if category in unseen else "Seen"
        if score.jaccard is not None and score.contour_accuracy is not None:
            values.setdefault(f"J-{kind}", []).append(score.jaccard)
            values.setdefault(f"F-{kind}", []).append(score.contour_accuracy)
    means = {name: sum(numbers) / len(numbers) for name, numbers in values.items()}
    return {"Overall": sum(means.values()) / len(means), **means} if means else {}


def open_youtube_vos(
    root: str | Path,
    *,
    split: str = "valid",
    unseen: str | Path | None = None,
    clips: Sequence[str] | None = None,
) -> Benchmark:
    """Open YouTube-VOS in its own layout.

    A video is scored if every frame that meta.json lists is annotated. The public validation set
    annotates only the first frame of each object: its predictions are for the evaluation server.

    Args:
        root: Folder of SPLIT/JPEGImages/VIDEO, SPLIT/Annotations/VIDEO and SPLIT/meta.json.
        split: Name of the folder: "valid", "train", ...
        unseen: JSON file, a list of the categories that training lacks; None for all categories
            that are not in ROOT/train/meta.json. Not needed if nothing is scored.
        clips: Names of the videos to run; None for all of meta.json.

    Raises:
        ConfigError: Files of the layout are missing or malformed.
    """
    root = Path(root).expanduser()
    images, masks = root / split / "JPEGImages", root / split / "Annotations"
    require_folders(images, masks, layout=_LAYOUT)
    meta = read_meta(root / split / "meta.json")
    names = choose_clips(list(meta), clips)
    videos = [_Video(x, images_in(images / x), images_in(masks / x), meta[x]) for x in names]
    unseen_here = set[str]()
    if any(video.scored for video in videos):
        unseen_here = _unseen_categories(root, unseen, _categories(meta))
    options = {"benchmark": "youtube-vos", "root": str(root.resolve()), "split": split}
    options |= {"unseen": sorted(unseen_here), "clips": "all" if clips is None else names}
    return Benchmark(options, videos, partial(_average_rows, unseen_here), folder=_SUBMISSION)


def read_meta(path: str | Path) -> dict[str, dict[int, MetaObject]]:
    """Read a meta.json: name of the video -> id -> object, both ascending."""
    try:
        videos = json.loads(Path(path).read_text(encoding="utf-8"))["videos"]
        return {name: _read_objects(video["objects"]) for name, video in sorted(videos.items())}
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ConfigError(
            f"{str(path)!r} cannot be understood ({reason}); accepted: {_META}"
        ) from error


def _read_objects(objects: Mapping[str, Any]) -> dict[int, MetaObject]:
    found = {}
    for text, one in sorted(objects.items(), key=lambda pair: int(pair[0])):
        frames = _names(one.get("frames", []))
        if not 1 <= int(text) < 2**31:
            raise ValueError(f"the object {text!r}")
        found[int(text)] = MetaObject(str(one["category"]), tuple(sorted(frames)))
    return found


def _names(names: list[Any]) -> list[str]:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("not a list of names")
    return names


def _categories(meta: Mapping[str, Mapping[int, MetaObject]]) -> set[str]:
    return {one.category for video in meta.values() for one in video.values()}


def _unseen_categories(root: Path, file: str | Path | None, categories: set[str]) -> set[str]:
    """Return the categories that training lacks, by a JSON list or else by ROOT/train/meta.json."""
    train = root / "train" / "meta.json"
    if file is None and train.is_file():
        return categories - _categories(read_meta(train))
    if file is None:
        raise ConfigError(
            f"the unseen categories cannot be determined without {str(train)!r}; accepted: that "
            "file, or a JSON list of categories. Write --unseen FILE, or unseen=..."
        )
    try:
        return categories & set(_names(json.loads(Path(file).read_text(encoding="utf-8"))))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(
            f'{str(file)!r} cannot be read: {error}; accepted: a JSON list such as ["ape", "box"]'
        ) from error


@dataclass(frozen=True, slots=True, eq=False)
class _Video(EvaluationClip):
    objects: Mapping[int, MetaObject]

    @property
    def kept(self) -> frozenset[str]:
        return frozenset(name for one in self.objects.values() for name in one.frames)

    @property
    def scored(self) -> bool:
        if self.kept:
            return self.kept <= {path.stem for path in self.annotations}
        # More annotated frames than objects: not only the first frame of each.
        return len(self.annotations) > len(self.objects)

    def given(self) -> dict[int, dict[int, NDArray[np.bool_]]]:
        numbers = {path.stem: number for number, path in enumerate(self.images)}
        maps = {path.stem: read_label_png(path) for path in self.annotations}
        strangers = sorted({*self.kept, *maps} - set(numbers))
        if strangers:
            raise MaskError(
                f"meta.json or the annotations have the frames {strangers[:3]}, which have no "
                "image; accepted: frames of JPEGImages"
            )
        return {numbers[name]: masks for name, masks in first_masks(maps, self.objects).items()}

    def score(self, predictions: Path) -> list[Row]:
        truth = {path.stem: read_label_png(path) for path in self.annotations}
        names = self.kept & set(truth) or truth
        labels = {name: read_label_png(predictions / f"{name}.png") for name in sorted(names)}
        scores = score_objects(labels, truth, self.objects)
        return [_row(i, self.objects[i].category, score) for i, score in scores.items()]

    def zero_rows(self) -> list[Row]:
        zero = ObjectScore(0.0, 0.0, 0)
        return [_row(i, one.category, zero) for i, one in self.objects.items()]


def _row(object_id: int, category: str, score: ObjectScore) -> Row:
    region, contour, num_frames = score
    both = None if region is None or contour is None else (region + contour) / 2
    row: Row = {"id": object_id, "category": category, "J&F-Mean": both}
    return {**row, "J-Mean": region, "F-Mean": contour, "frames": num_frames}


def _average_rows(unseen: Collection[str], rows: Sequence[Row]) -> dict[str, float]:
    names = ("J-Mean", "F-Mean", "frames")
    scores = [(row["category"], ObjectScore(*(row[name] for name in names))) for row in rows]
    return summarise_youtube_vos(scores, unseen=unseen)
