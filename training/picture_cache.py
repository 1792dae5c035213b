"""Decoded images in one file mapped into memory: decoding thousands of them takes a minute."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file

from training.layouts import Found, read_folder
from training.pictures import Picture, Video

VERSION = 1  # of the file and of reading images; a new one invalidates older files
ABOUT = "about"


@dataclass(frozen=True)
class StoredPicture(Picture):
    """A picture in the file; other processes receive its place and map it themselves.

    Attributes:
        path: The file.
        number: Number of the picture in the file.
    """

    path: str
    number: int

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle only the place."""
        return _picture_at, (self.path, self.number)


def read_folders(
    folders: Sequence[Path], *, side: int | None, max_stills: int | None, cache: Path | None
) -> list[Found]:
    """Read folders, from the file if it is up to date, else from their images.

    Args:
        folders: Folders in any of the layouts of `layouts.py`.
        side: Larger images are shrunk to this shorter side, px; None to keep their size.
        max_stills: Number of stills to read of each pack; None for all.
        cache: The file, which is written if it is out of date; None for no file.
    """
    if cache is None:
        return [read_folder(folder, side=side, max_stills=max_stills) for folder in folders]
    key = _key(folders, side, max_stills)
    if _key_of(cache) != key:
        found = [read_folder(folder, side=side, max_stills=max_stills) for folder in folders]
        try:
            _write(cache, key, found)
        except OSError as error:
            print(f"pictures are not kept in {cache}: {error}", flush=True)
            return found
    return _read(cache)


def _key(folders: Sequence[Path], side: int | None, max_stills: int | None) -> str:
    """Return a hash that changes with the name, size or date of any file."""
    digest = hashlib.sha256(repr((VERSION, side, max_stills)).encode())
    for folder in folders:
        for path in _files(folder.resolve()):
            status = path.stat()
            digest.update(repr((str(path), status.st_size, status.st_mtime_ns)).encode())
    return digest.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    for parent, names, files in os.walk(folder, followlinks=True):
        names.sort()
        yield from (Path(parent) / name for name in sorted(files))


def _key_of(cache: Path) -> str | None:
    try:
        return _about(cache)["key"]
    except FileNotFoundError:
        return None
    except Exception as error:
        print(f"{cache} cannot be used: {error}", flush=True)
        return None


def _about(cache: Path) -> dict[str, Any]:
    with safe_open(cache, "pt") as file:
        return json.loads(file.metadata()[ABOUT])


def _write(cache: Path, key: str, found: Sequence[Found]) -> None:
    pictures: list[Picture] = []

    def numbered(some: Sequence[Picture]) -> list[int]:
        pictures.extend(some)
        return [len(pictures) - len(some), len(pictures)]

    folders = [
        {
            "packs": {name: numbered(stills) for name, stills in folder.packs.items()},
            "videos": {
                name: [*numbered(video.pictures), video.step]
                for name, video in folder.videos.items()
            },
        }
        for folder in found
    ]
    objects = [[picture.boxes, picture.areas] for picture in pictures]
    about = json.dumps({"key": key, "folders": folders, "objects": objects})
    tensors = {
        f"{number}.{name}": getattr(picture, name)
        for number, picture in enumerate(pictures)
        for name in ("image", "labels")
    }
    cache.parent.mkdir(parents=True, exist_ok=True)
    partial = cache.with_name(f"{cache.name}.{os.getpid()}.partial")
    try:
        save_file(tensors, partial, metadata={ABOUT: about})
        partial.replace(cache)
    finally:
        partial.unlink(missing_ok=True)


def _read(cache: Path) -> list[Found]:
    pictures = _pictures(str(cache.resolve()))
    found = []
    for folder in _about(cache)["folders"]:
        packs: dict[str, list[Picture]] = {
            name: list(pictures[a:b]) for name, (a, b) in folder["packs"].items()
        }
        videos = {
            name: Video(pictures[a:b], step) for name, (a, b, step) in folder["videos"].items()
        }
        found.append(Found(packs, videos))
    return found


def _picture_at(path: str, number: int) -> StoredPicture:
    return _pictures(path)[number]


@lru_cache(maxsize=1)
def _pictures(path: str) -> tuple[StoredPicture, ...]:
    """Return all pictures of a file; their pixels are read on access."""
    with safe_open(path, "pt") as file:
        objects = json.loads(file.metadata()[ABOUT])["objects"]
        return tuple(
            StoredPicture(
                file.get_tensor(f"{number}.image"),
                file.get_tensor(f"{number}.labels"),
                {int(object_id): tuple(box) for object_id, box in boxes.items()},
                {int(object_id): area for object_id, area in areas.items()},
                path=path,
                number=number,
            )
            for number, (boxes, areas) in enumerate(objects)
        )  # fmt: skip
