"""DAVIS 2016 and 2017 as they are unpacked, and two folders of masks compared in their way."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from rmnet.errors import ConfigError, MaskError
from rmnet.evaluation.clip import Benchmark, EvaluationClip, ReadPrediction, Row
from rmnet.evaluation.davis_protocol import (
    SequenceScores,
    Statistics,
    average_objects,
    evaluate_sequence,
)
from rmnet.evaluation.files import choose_clips, folders_in, images_in, require_folder
from rmnet.io import VOID, read_label_png
from rmnet.metrics import LabelMap

_STATISTICS = ("Mean", "Recall", "Decay")
_LAYOUT = "a root with JPEGImages/480p, Annotations/480p and ImageSets/2017/val.txt, as DAVIS has"


def open_davis(
    root: str | Path,
    *,
    year: int = 2017,
    split: str = "val",
    resolution: str = "480p",
    clips: Sequence[str] | None = None,
) -> Benchmark:
    """DAVIS in its own layout.

    Args:
        root: Holds JPEGImages/RESOLUTION/CLIP, Annotations/RESOLUTION/CLIP, and
            ImageSets/YEAR/SPLIT.txt, a name a line, or as DAVIS 2016 came ImageSets/480p/SPLIT.txt.
        year: 2017 scores object by object; 2016 takes all of them for one.
        split: Name of the list of clips.
        resolution: Name of the folders, such as "480p" or "Full-Resolution".
        clips: Names of the clips to run; None for all of the split.

    Returns:
        The benchmark. A clip of which only the first mask is there (test-dev) is not scored.

    Raises:
        ConfigError: another year, or files that the layout asks for are not there.
    """
    _check_year(year)
    root = require_folder(Path(root).expanduser(), layout=_LAYOUT)
    images, masks = root / "JPEGImages" / resolution, root / "Annotations" / resolution
    for folder in (images, masks):
        require_folder(folder, layout=_LAYOUT)
    names = choose_clips(_split(root, year, split), clips)
    options = {"benchmark": "davis", "root": str(root.resolve()), "year": year, "split": split}
    options |= {"resolution": resolution, "clips": "all" if clips is None else names}
    return Benchmark(
        options,
        [
            _davis_clip(name, images_in(images / name), images_in(masks / name), year=year)
            for name in names
        ],
        average_rows,
    )


def open_folders(predictions: str | Path, truth: str | Path, *, year: int = 2017) -> Benchmark:
    """Two folders of clips, or two folders of PNGs, which are one clip.

    Args:
        predictions: Label PNGs; those of the first and last frame of a clip may be missing.
        truth: Label PNGs, which say what clips, frames and objects there are.
        year: As of `open_davis`.

    Returns:
        A benchmark whose images are the truth itself: its clips are to be scored, not tracked.

    Raises:
        ConfigError: another year, or there is no such folder.
    """
    _check_year(year)
    layout = "a folder of label PNGs, or of folders of them"
    predictions = require_folder(Path(predictions).expanduser(), layout=layout)
    truth = require_folder(Path(truth).expanduser(), layout=layout)
    names = folders_in(truth)
    unmatched = [name for name in folders_in(predictions) if names and name not in names]
    if unmatched:
        warnings.warn(f"predictions without truth, not scored: {unmatched}", stacklevel=2)
    options = {"benchmark": "folder", "year": year, "truth": str(truth.resolve())}
    options["predictions"] = str(predictions.resolve())
    folders = {name: (predictions / name, truth / name) for name in names}
    folders = folders or {truth.resolve().name: (predictions, truth)}  # PNGs: one clip
    clips = []
    for name, (predicted, expected) in folders.items():
        annotations = images_in(expected)
        clip = _davis_clip(name, annotations, annotations, year=year)
        clips.append(replace(clip, predictions=predicted))
    return Benchmark(options, clips, average_rows)


def average_rows(rows: Sequence[Row]) -> dict[str, float]:
    """The seven numbers of DAVIS over all objects; none of no rows."""
    if not rows:
        return {}
    return average_objects(
        [Statistics(*(row[f"J-{name}"] for name in _STATISTICS)) for row in rows],
        [Statistics(*(row[f"F-{name}"] for name in _STATISTICS)) for row in rows],
    )


def _check_year(year: int) -> None:
    if year not in (2016, 2017):
        raise ConfigError(f"year is {year!r}; accepted: 2016 or 2017. Write year=2017")


def _split(root: Path, year: int, split: str) -> list[str]:
    """Names of the clips of a split, in its order."""
    files = [root / "ImageSets" / str(year) / f"{split}.txt"]
    if year == 2016:  # as it came: a line a frame, /JPEGImages/480p/CLIP/00000.jpg /Annotations/...
        files += [root / "ImageSets" / folder / f"{split}.txt" for folder in ("480p", "1080p")]
    for file in files:
        if file.is_file():
            try:
                text = file.read_text(encoding="utf-8")
            except (OSError, ValueError) as error:
                raise ConfigError(
                    f"{str(file)!r} cannot be read: {error}; accepted: a name of a clip a line"
                ) from error
            lines = [line.split()[0] for line in text.splitlines() if line.strip()]
            names = [line.split("/")[-2] if "/" in line else line for line in lines]
            return list(dict.fromkeys(names))
    raise ConfigError(
        f"there is no {str(files[0])!r}; accepted: a file with a name of a clip a line. "
        "Write --split, or split=..., for another list"
    )


def _davis_clip(
    name: str, images: tuple[Path, ...], annotations: tuple[Path, ...], *, year: int
) -> EvaluationClip:
    # test-dev comes with the first mask alone. A clip without any is scored, and fails.
    has_truth = len(annotations) != 1 or images == annotations
    return EvaluationClip(
        name,
        images,
        given=partial(_given, annotations, year),
        score=partial(_score, images, annotations, year) if has_truth else None,
        zero=partial(_zero, annotations, year),
    )


def _given(annotations: Sequence[Path], year: int) -> Mapping[int, LabelMap]:
    """The mask of the first frame; in 2016 all ids are one."""
    if not annotations:
        raise MaskError("the clip has no annotations; accepted: at least the first frame's PNG")
    labels = read_label_png(annotations[0])
    if year == 2016:
        labels = np.where(labels == VOID, VOID, labels > 0).astype(np.uint8)
    return {0: labels}


def _score(
    images: Sequence[Path], annotations: Sequence[Path], year: int, read: ReadPrediction
) -> list[Row]:
    names, expected = ([path.stem for path in paths] for paths in (images, annotations))
    if names != expected:
        strangers = sorted(set(names) ^ set(expected))
        raise MaskError(
            f"{len(names)} images have {len(expected)} annotations, and {strangers[:3]} have no "
            "counterpart; accepted: a PNG an image, of the same name"
        )
    truth = [read_label_png(path) for path in annotations]
    # The first and the last frame do not count, so nobody has to predict them.
    labels = [*truth[:1], *(read(name) for name in names[1:-1]), *truth[1:][-1:]]
    return _rows(evaluate_sequence(labels, truth, year=year))


def _zero(annotations: Sequence[Path], year: int) -> list[Row]:
    """A row of zeros for each object of the first mask; for one, if that cannot be read."""
    ids: list[int] = []
    if year == 2017:
        try:
            ids = [
                i for i in np.unique(_given(annotations, year)[0]).tolist() if i not in (0, VOID)
            ]
        except MaskError:  # which may be why the clip failed
            ids = []
    zeros = np.zeros((len(ids) or 1, 1))
    return _rows(SequenceScores(tuple(ids) or (1,), zeros, zeros))


def _rows(scores: SequenceScores) -> list[Row]:
    rows: list[Row] = []
    for object_id, region, contour in zip(
        scores.object_ids, scores.jaccard_statistics, scores.contour_statistics, strict=True
    ):
        row: Row = {"id": object_id, "J&F-Mean": (region.mean + contour.mean) / 2}
        row |= {f"J-{name}": value for name, value in zip(_STATISTICS, region, strict=True)}
        row |= {f"F-{name}": value for name, value in zip(_STATISTICS, contour, strict=True)}
        rows.append(row)
    return rows
