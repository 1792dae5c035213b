"""DAVIS 2016 and 2017: the protocol, the data set's layout, and folders scored the same way.

Source: Perazzi et al., CVPR 2016; Pont-Tuset et al., 2017. The numbers equal those of the toolkit,
davis2017-evaluation.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rmnet.errors import ConfigError, MaskError
from rmnet.evaluation.clip import (
    Benchmark,
    EvaluationClip,
    Row,
    choose_clips,
    images_in,
    require_folders,
)
from rmnet.evaluation.statistics import SequenceScores, average_rows
from rmnet.io import VOID, has_void, read_label_png
from rmnet.metrics import LabelMap, contour_accuracy, jaccard

_LAYOUT = "a root with JPEGImages/480p, Annotations/480p and ImageSets/2017/val.txt, as DAVIS has"


def evaluate_sequence(
    labels: Sequence[LabelMap] | LabelMap,
    truth: Sequence[LabelMap] | LabelMap,
    *,
    year: int = 2017,
) -> SequenceScores:
    """Score one sequence in J and F, without its first and last frame.

    Scored are the objects of the truth's first frame, whatever their ids. An object missing from
    the prediction counts as empty there; ids that only the prediction has are ignored.

    Args:
        labels: Predicted label maps, integers (T, H, W) or T of (H, W), T at least 3. The first
            and the last are not read.
        truth: True label maps, likewise; 0 background, 255 void.
        year: 2017 scores object by object; 2016 scores all objects as one, with id 1.

    Returns:
        The scores, objects by ascending id.

    Raises:
        ConfigError: The year is another one, or the number of maps does not fit.
        MaskError: The maps are not integers of one size, or the truth's first shows no object.
    """
    _check_year(year)
    if len(labels) != len(truth) or len(truth) < 3:
        raise ConfigError(
            f"got {len(labels)} label maps for {len(truth)} true ones; accepted: one for each "
            "frame, including the first and the last, and at least 3"
        )
    # Toolkit: counts from 1 to the first frame's highest id, and stops at predictions above it.
    object_ids = _object_ids(truth[0])
    if not object_ids:
        raise MaskError(
            "the truth's first frame shows no object; accepted: ids other than 0 and 255, which "
            "is void. Read masks of 0 and 255 with rmnet.io.read_label_png"
        )
    scores, size, voids = [], np.shape(truth[0]), has_void(*map(np.asarray, truth))
    for index in range(1, len(truth) - 1):
        predicted, expected = np.asarray(labels[index]), np.asarray(truth[index])
        for name, one in (("prediction", predicted), ("truth", expected)):
            if one.dtype.kind not in "iu" or one.ndim != 2 or one.shape != size:
                raise MaskError(
                    f"the {name} of frame {index} is {one.dtype} of shape {one.shape}; accepted: "
                    f"integers {size}, like the truth's first. Write labels.astype(np.int32)"
                )
        void = (expected == VOID) & voids
        if year == 2016:
            pairs = [(predicted != 0, (expected != 0) & ~void)]
        else:
            pairs = [(predicted == i, expected == i) for i in object_ids]
        void = void if void.any() else None
        measures = (jaccard, contour_accuracy)
        scores.append([[f(*pair, void=void) for pair in pairs] for f in measures])
    region, contour = np.array(scores, dtype=np.float64).transpose(1, 2, 0)
    return SequenceScores((1,) if year == 2016 else tuple(object_ids), region, contour)


def open_davis(
    root: str | Path,
    *,
    year: int = 2017,
    split: str = "val",
    resolution: str = "480p",
    clips: Sequence[str] | None = None,
) -> Benchmark:
    """Open DAVIS in its own layout.

    Args:
        root: Folder of JPEGImages/RESOLUTION/CLIP, Annotations/RESOLUTION/CLIP, and
            ImageSets/YEAR/SPLIT.txt, one clip per line (or that of DAVIS 2016 as published).
        year: 2017 scores object by object; 2016 scores all objects as one.
        split: Name of the list of clips.
        resolution: Name of the folders, such as "480p" or "Full-Resolution".
        clips: Names of the clips to run; None for the whole split.

    Returns:
        The benchmark. Clips with only their first mask (test-dev) are tracked, but not scored.

    Raises:
        ConfigError: The year is another one, or files of the layout are missing.
    """
    _check_year(year)
    root = Path(root).expanduser()
    images, masks = root / "JPEGImages" / resolution, root / "Annotations" / resolution
    require_folders(images, masks, layout=_LAYOUT)
    names = choose_clips(_read_split(root, year, split), clips)
    options = {"benchmark": "davis", "root": str(root.resolve()), "year": year, "split": split}
    options |= {"resolution": resolution, "clips": "all" if clips is None else names}
    found = [_Clip(name, images_in(images / name), images_in(masks / name), year) for name in names]
    return Benchmark(options, found, average_rows)


def open_folders(predictions: str | Path, truth: str | Path, *, year: int = 2017) -> Benchmark:
    """Open two folders of clips, or two folders of PNGs, which make one clip.

    Args:
        predictions: Folder of label PNGs. Those of a clip's first and last frame may be missing.
        truth: Folder of label PNGs, which define the clips, frames and objects.
        year: See `open_davis`.

    Returns:
        A benchmark for `compare_folders`. Its images are the true label PNGs.

    Raises:
        ConfigError: The year is another one, or a folder does not exist.
    """
    _check_year(year)
    predictions, truth = Path(predictions).expanduser(), Path(truth).expanduser()
    require_folders(predictions, truth, layout="a folder of label PNGs, or of folders of them")
    names = _folders_in(truth)
    unmatched = [name for name in _folders_in(predictions) if names and name not in names]
    if unmatched:
        warnings.warn(f"predictions without truth, not scored: {unmatched}", stacklevel=2)
    options = {"benchmark": "folder", "year": year, "truth": str(truth.resolve())}
    options["predictions"] = str(predictions.resolve())
    clips = []
    for folder in names or [""]:  # no folders: PNGs of one clip
        maps, name = images_in(truth / folder), folder or truth.resolve().name
        clips.append(_Clip(name, maps, maps, year, predictions=predictions / folder))
    return Benchmark(options, clips, average_rows)


@dataclass(frozen=True, slots=True, eq=False)
class _Clip(EvaluationClip):
    year: int

    @property
    def scored(self) -> bool:
        # A single map is the given one, unless it is compared. A clip without any fails.
        return len(self.annotations) != 1 or self.predictions is not None

    def given(self) -> Mapping[int, LabelMap]:
        if not self.annotations:
            raise MaskError("the clip has no annotations; accepted: at least the first frame's PNG")
        labels = read_label_png(self.annotations[0])
        if self.year == 2016:
            void = (labels == VOID) & has_void(labels)
            labels = np.where(void, VOID, labels > 0).astype(np.uint8)
        return {0: labels}

    def score(self, predictions: Path) -> list[Row]:
        names, expected = ([path.stem for path in x] for x in (self.images, self.annotations))
        if names != expected:
            strangers = sorted(set(names) ^ set(expected))
            raise MaskError(
                f"{len(names)} images have {len(expected)} annotations, and {strangers[:3]} have "
                "no counterpart; accepted: one PNG per image, of the same name"
            )
        truth = [read_label_png(path) for path in self.annotations]
        labels = list(truth)  # the first and the last are not scored, and need not exist
        labels[1:-1] = [read_label_png(predictions / f"{name}.png") for name in names[1:-1]]
        return evaluate_sequence(labels, truth, year=self.year).rows()

    def zero_rows(self) -> list[Row]:
        ids = [1]
        with suppress(MaskError):  # which may be the reason of the failure
            ids = _object_ids(self.given()[0]) or ids
        zeros = np.zeros((len(ids), 1))
        return SequenceScores(tuple(ids), zeros, zeros).rows()


def _check_year(year: int) -> None:
    if year not in (2016, 2017):
        raise ConfigError(f"year is {year!r}; accepted: 2016 or 2017. Write year=2017")


def _object_ids(labels: LabelMap) -> list[int]:
    return [int(i) for i in np.unique(labels) if i and (i != VOID or not has_void(labels))]


def _folders_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")


def _read_split(root: Path, year: int, split: str) -> list[str]:
    """Return the names of the clips of a split, in its order."""
    # 2016 was first published as lines of /JPEGImages/480p/CLIP/00000.jpg /Annotations/...
    folders = ["2016", "480p", "1080p"] if year == 2016 else [str(year)]
    files = [root / "ImageSets" / folder / f"{split}.txt" for folder in folders]
    file = next((file for file in files if file.is_file()), files[0])
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{str(file)!r} cannot be read: {error}; accepted: a file with one name of a clip per "
            "line. Write split=... (--split) for another list"
        ) from error
    lines = [line.split()[0] for line in text.splitlines() if line.strip()]
    return list(dict.fromkeys(line.split("/")[-2] if "/" in line else line for line in lines))
