"""Folders of label PNGs, one file for each frame of a video."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rmnet.errors import ConfigError
from rmnet.io.frame_source import open_frames
from rmnet.io.label_png import read_label_png, write_label_png
from rmnet.io.whole_files import make_folder


def frame_name(index: int, names: Sequence[str] | None) -> str:
    """Return the name of a frame's label file, without the suffix; None numbers the files."""
    return f"{index:05d}" if names is None else names[index]


def write_label_folder(
    directory: str | Path,
    names: Iterable[str],
    maps: Iterable[NDArray[np.integer]],
    *,
    object_ids: Collection[int] = (),
    protected: Iterable[Path] = (),
) -> list[Path]:
    """Write `{name}.png` for every frame, unless that would overwrite a protected file."""
    directory = Path(directory)
    make_folder(directory)
    paths = [directory / f"{name}.png" for name in names]
    if {path.resolve() for path in paths} & {path.resolve() for path in protected}:
        raise ConfigError(
            f"{str(directory)!r} holds the video's own images, which would be overwritten; "
            "accepted: another folder"
        )
    for path, labels in zip(paths, maps, strict=True):
        write_label_png(path, labels, object_ids=object_ids)
    return paths


def read_label_folder(
    directory: str | Path, names: Collection[str]
) -> dict[str, NDArray[np.integer]]:
    """Read the label maps (H, W) of a video's frames, by frame name.

    The files are named like frames, some of which may lack one; or there are as many files as
    frames, matched in natural order.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise ConfigError(f"there is no folder {str(directory)!r}; accepted: one of label PNGs")
    paths = open_frames(directory).paths or []  # in natural order
    strangers = [path.stem for path in paths if path.stem not in names]
    if strangers and len(paths) != len(names):
        raise ConfigError(
            f"{str(directory)!r} holds {len(paths)} label maps for {len(names)} frames, and "
            f"{strangers[0]!r} is not the name of a frame; accepted: names of frames, such as "
            f"{next(iter(names), '00000')!r}, or as many maps as frames"
        )
    matched = names if strangers else [path.stem for path in paths]
    return {name: read_label_png(path) for name, path in zip(matched, paths, strict=True)}
