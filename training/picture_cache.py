"""Pictures as one file that is mapped into memory: decoding thousands of images takes a minute."""

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

from layouts import Found, read_folder
from pictures import Picture, Video

VERSION = 1  # of the file, and of how images are read; another one reads them anew
ABOUT = "about"


@dataclass(frozen=True)
class StoredPicture(Picture):
    """A picture of the file; other processes are told where it is, and map it themselves.

    Attributes:
        path: The file.
        number: Its number there.
    """

    path: str
    number: int

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the place alone."""
        return _picture_at, (self.path, self.number)


def read_folders(
    folders: Sequence[Path], *, side: int | None, max_stills: int | None, cache: Path | None
) -> list[Found]:
    """Read folders, from the file if it holds just these, and else from their images.

    Args:
        folders: In any of the layouts of `layouts.py`.
        side: Larger images are shrunk to this shorter side, px; None for none.
        max_stills: Stills read of each pack; None for all.
        cache: The file, written if need be; None to do without.
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
    """A word that changes with any file's name, size or date."""
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
        packs = {name: list(pictures[a:b]) for name, (a, b) in folder["packs"].items()}
        videos = {
            name: Video(pictures[a:b], step) for name, (a, b, step) in folder["videos"].items()
        }
        found.append(Found(packs, videos))
    return found


def _picture_at(path: str, number: int) -> StoredPicture:
    return _pictures(path)[number]


@lru_cache(maxsize=1)
def _pictures(path: str) -> tuple[StoredPicture, ...]:
    """All pictures of a file: nothing is read until it is looked at."""
    with safe_open(path, "pt") as file:
        objects = json.loads(file.metadata()[ABOUT])["objects"]
        return tuple(
            StoredPicture(
                file.get_tensor(f"{number}.image"),
                file.get_tensor(f"{number}.labels"),
                *({int(k): v if isinstance(v, int) else tuple(v) for k, v in of.items()}
                  for of in (boxes, areas)),
                path=path,
                number=number,
            )
            for number, (boxes, areas) in enumerate(objects)
        )  # fmt: skip
