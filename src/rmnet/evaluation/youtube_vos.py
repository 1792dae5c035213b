"""YouTube-VOS as it is unpacked."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rmnet.errors import ConfigError, MaskError
from rmnet.evaluation.clip import Benchmark, EvaluationClip, ReadPrediction, Row
from rmnet.evaluation.files import choose_clips, images_in, require_folder
from rmnet.evaluation.youtube_vos_protocol import (
    MetaObject,
    ObjectScore,
    first_masks,
    read_meta,
    score_objects,
    summarise,
)
from rmnet.io import read_label_png

_LAYOUT = "a root with valid/JPEGImages, valid/Annotations and valid/meta.json, as YouTube-VOS has"
SUBMISSION = "Annotations"  # the folder that the evaluation server asks for


def open_youtube_vos(
    root: str | Path,
    *,
    split: str = "valid",
    unseen: str | Path | None = None,
    clips: Sequence[str] | None = None,
) -> Benchmark:
    """YouTube-VOS in its own layout.

    A video is scored if every frame that meta.json asks for is annotated. In the validation set
    as it is published only the first frame of each object is: its predictions are for the
    evaluation server.

    Args:
        root: Holds SPLIT/JPEGImages/VIDEO, SPLIT/Annotations/VIDEO and SPLIT/meta.json.
        split: Name of the folder: "valid", "train", ...
        unseen: JSON file, a list of the categories that training does not have; None for all that
            ROOT/train/meta.json lacks. Not needed where nothing is scored.
        clips: Names of the videos to run; None for all of meta.json.

    Raises:
        ConfigError: files that the layout asks for are not there, or not of their form.
    """
    root = require_folder(Path(root).expanduser(), layout=_LAYOUT)
    folder = require_folder(root / split, layout=_LAYOUT)
    for name in ("JPEGImages", "Annotations"):
        require_folder(folder / name, layout=_LAYOUT)
    meta = read_meta(folder / "meta.json")
    names = choose_clips(list(meta), clips)
    made = [_video(folder, name, meta[name]) for name in names]
    categories = {one.category for video in meta.values() for one in video.values()}
    scored = any(clip.score is not None for clip in made)
    unseen_here = _unseen(root, unseen, categories) if scored else set[str]()
    options = {"benchmark": "youtube-vos", "root": str(root.resolve()), "split": split}
    options |= {"unseen": sorted(unseen_here), "clips": "all" if clips is None else names}
    return Benchmark(options, made, partial(_average, unseen_here), folder=SUBMISSION)


def _unseen(root: Path, file: str | Path | None, categories: set[str]) -> set[str]:
    """Of the categories those that training does not have."""
    if file is None:
        train = root / "train" / "meta.json"
        if not train.is_file():
            raise ConfigError(
                f"which categories are unseen cannot be told without {str(train)!r}; accepted: "
                "that file, or a JSON list of categories. Write --unseen FILE, or unseen=..."
            )
        seen = {one.category for video in read_meta(train).values() for one in video.values()}
        return categories - seen
    try:
        unseen = json.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"{str(file)!r} cannot be read: {error}; accepted: a JSON list"
        ) from error
    if not isinstance(unseen, list) or not all(isinstance(one, str) for one in unseen):
        raise ConfigError(
            f'{str(file)!r} holds no list of names; accepted: a JSON list such as ["ape", "box"]'
        )
    return categories & set(unseen)


def _video(folder: Path, name: str, objects: Mapping[int, MetaObject]) -> EvaluationClip:
    images = images_in(folder / "JPEGImages" / name)
    annotations = images_in(folder / "Annotations" / name)
    listed = frozenset(frame for one in objects.values() for frame in one.frames)
    asked = listed or frozenset(path.stem for path in images)
    # Without lists of frames: masks of more frames than there are objects are not only first ones.
    annotated = frozenset(path.stem for path in annotations)
    has_truth = listed <= annotated if listed else len(annotated) > len(objects)
    return EvaluationClip(
        name,
        images,
        given=partial(_given, images, annotations, objects, asked),
        score=partial(_score, annotations, objects) if has_truth else None,
        zero=partial(_zero, objects),
        asked=asked,
    )


def _given(
    images: Sequence[Path],
    annotations: Sequence[Path],
    objects: Mapping[int, MetaObject],
    asked: Collection[str],
) -> dict[int, dict[int, NDArray[np.bool_]]]:
    """Masks by the number of their frame: of each object the first."""
    numbers = {path.stem: number for number, path in enumerate(images)}
    strangers = sorted({*asked, *(path.stem for path in annotations)} - set(numbers))
    if strangers:
        raise MaskError(
            f"meta.json or the annotations have the frames {strangers[:3]}, which have no image; "
            "accepted: frames that are in JPEGImages"
        )
    maps = {path.stem: read_label_png(path) for path in annotations}
    return {numbers[name]: masks for name, masks in first_masks(maps, objects).items()}


def _score(
    annotations: Sequence[Path], objects: Mapping[int, MetaObject], read: ReadPrediction
) -> list[Row]:
    truth = {path.stem: read_label_png(path) for path in annotations}
    frames = {frame for one in objects.values() for frame in one.frames} or set(truth)
    predictions = {name: read(name) for name in sorted(frames & set(truth))}
    scores = score_objects(predictions, truth, objects)
    return [_row(i, objects[i].category, score) for i, score in scores.items()]


def _zero(objects: Mapping[int, MetaObject]) -> list[Row]:
    return [_row(i, one.category, ObjectScore(0.0, 0.0, 0)) for i, one in objects.items()]


def _row(object_id: int, category: str, score: ObjectScore) -> Row:
    region, contour = score.jaccard, score.contour_accuracy
    both = None if region is None or contour is None else (region + contour) / 2
    row: Row = {"id": object_id, "category": category, "J&F-Mean": both}
    return {**row, "J-Mean": region, "F-Mean": contour, "frames": score.num_frames}


def _average(unseen: Collection[str], rows: Sequence[Row]) -> dict[str, float]:
    scores = [
        (row["category"], ObjectScore(row["J-Mean"], row["F-Mean"], row["frames"])) for row in rows
    ]
    return summarise(scores, unseen=unseen)
