"""Reads folders of images in the layouts of common data sets, recognised by their contents."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.pictures import Picture, Video, picture_of, read_labels, read_mask, read_video

IMAGES = (".jpg", ".jpeg", ".webp", ".png")

EXPECTED = """accepted are folders that hold one of (.jpeg and .webp serve wherever .jpg does)
  [train/]stills*/<pack>/*.jpg with .png label maps, [train/]clips/<clip>/*.jpg with .png masks
      (or davis/<clip>/ in place of clips/<clip>/)
  images/*.jpg and ground_truth_mask/*.png                              (ECSSD)
  *.jpg and *.png of the same names, in the folder or in Imgs/          (MSRA10K)
  annotations/instances_*.json and <split>/*.jpg, or instances*.json and images/   (COCO)
  JPEGImages/480p/<clip>/ and Annotations/480p/<clip>/, ImageSets/      (DAVIS; its train split)
  [train/]JPEGImages/<clip>/ and [train/]Annotations/<clip>/            (YouTube-VOS)"""


class LayoutError(FileNotFoundError):
    """A folder holds nothing to train on."""


@dataclass
class Found:
    """Contents of a folder: stills by pack, and real clips by name."""

    packs: dict[str, list[Picture]] = field(default_factory=dict)
    videos: dict[str, Video] = field(default_factory=dict)


def read_folder(root: Path, *, side: int | None, max_stills: int | None = None) -> Found:
    """Read a folder in any of the layouts.

    Args:
        root: The folder.
        side: Larger images are shrunk to this shorter side, px; None to keep their size.
        max_stills: Number of stills to read of each pack; None for all.

    Raises:
        LayoutError: the folder has none of the layouts.
    """
    for read in (_own, _davis, _youtube_vos, _coco, _ecssd, _msra10k):
        found = read(root, side, max_stills)
        if found is not None and (any(found.packs.values()) or found.videos):
            return found
    raise LayoutError(f"nothing to train on under {root}; {EXPECTED}")


def _own(root: Path, side: int | None, limit: int | None) -> Found | None:
    found = Found()
    for base in (root, root / "train"):
        for folder in sorted(base.glob("stills*/*/")):
            pairs = _pairs(folder, limit)
            found.packs[folder.name] = [picture_of(i, read_labels(m), side) for i, m in pairs]
        for folder in sorted([*base.glob("davis/*/"), *base.glob("clips/*/")]):
            _add_video(found, folder, folder, side)
    return found


def _davis(root: Path, side: int | None, limit: int | None) -> Found | None:
    for folder in sorted(root.glob("JPEGImages/*/")):
        masks = root / "Annotations" / folder.name
        clips = [clip for clip in sorted(folder.glob("*/")) if (masks / clip.name).is_dir()]
        if not clips:
            continue
        found, train, withheld = Found(), _split(root, "train"), _split(root, "val")
        for clip in clips:
            # A validation clip is never trained on, wherever it lies.
            if clip.name not in withheld and (not train or clip.name in train):
                _add_video(found, clip, masks / clip.name, side)
        if not found.videos:
            raise LayoutError(
                f"{root} is a DAVIS root whose {len(clips)} clips are all of its validation split "
                "(ImageSets/*/val.txt); accepted: clips of its train split. Validation clips are "
                "never trained on"
            )
        return found
    return None


def _split(root: Path, name: str) -> set[str]:
    lists = root.glob(f"ImageSets/*/{name}.txt")
    return {clip for path in lists for clip in path.read_text(encoding="utf-8").split()}


def _youtube_vos(root: Path, side: int | None, limit: int | None) -> Found | None:
    for base in (root, root / "train"):
        found = Found()
        for clip in sorted(base.glob("JPEGImages/*/")):
            _add_video(found, clip, base / "Annotations" / clip.name, side)
        if found.videos:
            return found
    return None


def _coco(root: Path, side: int | None, limit: int | None) -> Found | None:
    lists = sorted([*root.glob("annotations/instances*.json"), *root.glob("instances*.json")])
    found = Found()
    for path in lists:
        split = path.stem.removeprefix("instances").strip("_")
        folders = (root / split, root / "images" / split, root / "images", root)
        pairs = _coco_pairs(path, [folder for folder in folders if folder.is_dir()])
        stills = [
            picture_of(image, labels, side)
            for _, (image, labels) in zip(range(limit or 1 << 62), pairs, strict=False)
        ]
        found.packs[f"coco_{split or 'instances'}"] = stills
    return found if lists else None


def _coco_pairs(path: Path, folders: list[Path]) -> Iterator[tuple[Path, NDArray[np.uint8]]]:
    content = json.loads(path.read_text(encoding="utf-8"))
    objects: dict[int, list[Any]] = {}
    for annotation in content["annotations"]:
        if not annotation.get("iscrowd"):
            objects.setdefault(annotation["image_id"], []).append(annotation["segmentation"])
    for image in content["images"]:
        places = [folder / Path(image["file_name"]).name for folder in folders]
        place = next((place for place in places if place.is_file()), None)
        if place is None or image["id"] not in objects:
            continue
        height, width = image["height"], image["width"]
        labels = np.zeros((height, width), np.uint8)
        for number, shape in enumerate(objects[image["id"]][:254], 1):
            labels[_decoded(shape, height, width)] = number
        yield place, labels


def _decoded(shape: Any, height: int, width: int) -> NDArray[np.bool_]:  # noqa: ANN401 from JSON
    """Decode a COCO segmentation (polygons or run lengths) to (h, w) bool."""
    try:
        from pycocotools import mask as coco
    except ImportError as error:
        raise LayoutError(
            "COCO's segmentations need pycocotools; write pip install 'rmnet[coco]'"
        ) from error
    lengths = coco.frPyObjects(shape, height, width)
    with warnings.catch_warnings():
        # pycocotools still uses names that NumPy 2 deprecates.
        warnings.simplefilter("ignore", DeprecationWarning)
        merged = coco.merge(lengths) if isinstance(lengths, list) else lengths
        return coco.decode(merged) > 0


def _ecssd(root: Path, side: int | None, limit: int | None) -> Found | None:
    images, masks = root / "images", root / "ground_truth_mask"
    if not masks.is_dir():
        return None
    pairs = [(image, masks / f"{image.stem}.png") for image in _images(images)]
    stills = [picture_of(i, read_mask(m), side) for i, m in pairs[:limit] if m.is_file()]
    return Found({root.name: stills})


def _msra10k(root: Path, side: int | None, limit: int | None) -> Found | None:
    for folder in (root, root / "Imgs"):
        pairs = _pairs(folder, limit)
        if pairs:
            return Found({root.name: [picture_of(i, read_mask(m), side) for i, m in pairs]})
    return None


def _pairs(folder: Path, limit: int | None) -> list[tuple[Path, Path]]:
    images = (path for path in _images(folder) if path.suffix.lower() != ".png")
    pairs = [(path, path.with_suffix(".png")) for path in images]
    return [pair for pair in pairs if pair[1].is_file()][:limit]


def _add_video(found: Found, frames: Path, masks: Path, side: int | None) -> None:
    """Read a clip under the name of its folder; the last of several of one name wins."""
    same = frames == masks
    paths = [path for path in _images(frames) if not (same and path.suffix.lower() == ".png")]
    truth = [masks / f"{path.stem}.png" for path in paths]
    video = read_video(paths, [path if path.is_file() else None for path in truth], side)
    if video is not None:
        # DAVIS 2016 circulates with and without this prefix.
        found.videos[frames.name.removeprefix("davis16-")] = video


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in IMAGES)
