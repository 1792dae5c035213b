"""Which files of a folder, or of a glob, are the frames of a video, and in which order."""

from __future__ import annotations

import glob
import re
import warnings
from itertools import pairwise
from pathlib import Path

from rmnet.errors import VideoError

FRAME_SUFFIXES = (
    ".bmp", ".jpeg", ".jpg", ".jpe", ".jfif", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff",
    ".webp",
)  # fmt: skip
# Pictures that are no frames: animations and formats that are not decoded.
_OTHER_PICTURES = {
    ".apng", ".avif", ".cr2", ".cr3", ".dds", ".dib", ".dng", ".dpx", ".exr", ".gif", ".hdr",
    ".heic", ".heif", ".j2k", ".jp2", ".jxl", ".mpo", ".nef", ".orf", ".pbm", ".pcx", ".pfm",
    ".psd", ".raf", ".sgi", ".tga",
}  # fmt: skip
_LISTED = 4  # names in a message


def images_in_folder(folder: Path) -> list[Path]:
    """Return the images of a folder in natural order, without hidden files.

    Warns about pictures that are left out.

    Raises:
        VideoError: no images, or two of one name.
    """
    files = sorted((file for file in folder.iterdir() if file.name[0] != "."), key=_natural_order)
    images = [file for file in files if file.suffix.lower() in FRAME_SUFFIXES]
    others = [file for file in files if file.suffix.lower() in _OTHER_PICTURES]
    names = ", ".join(file.name for file in others[:_LISTED])
    names += f" and {len(others) - _LISTED} more" if len(others) > _LISTED else ""
    accepted = f"accepted: {', '.join(FRAME_SUFFIXES)}"
    if not images:
        but = f"; it holds {names}" if others else ""
        raise VideoError(f"the folder {str(folder)!r} holds no images{but}; {accepted}")
    if others:
        warnings.warn(
            f"pictures in the folder {str(folder)!r} are not read: {names}; {accepted}",
            stacklevel=2,
        )
    for one, next_one in pairwise(images):
        if one.stem == next_one.stem:  # such as 00000.jpg and its mask 00000.png
            pattern = str(Path(glob.escape(str(folder))) / f"*{one.suffix}")
            raise VideoError(
                f"the folder {str(folder)!r} holds both {one.name} and {next_one.name}; "
                f"accepted: one image a frame. Write {pattern!r}"
            )
    return images


def images_of_glob(pattern: str) -> list[Path]:
    """Return the files that match a glob, in natural order.

    Brackets are tried as part of names first, since folders are called "clip [1080p]", and then as
    a set of characters.
    """
    folder = Path(pattern).parent
    while not folder.is_dir():
        folder = folder.parent
    rest = Path(pattern).relative_to(folder)
    for attempt in (
        pattern.replace("[", "[[]"),
        str(Path(glob.escape(str(folder))) / rest),
        pattern,
    ):
        matches = glob.glob(attempt, recursive=True)  # noqa: PTH207 Path.glob takes no root
        images = [Path(match) for match in matches if Path(match).is_file()]
        if images:
            return sorted(images, key=_natural_order)
    raise VideoError(f"no file matches {pattern!r}; accepted: a glob of images")


def _natural_order(path: Path) -> tuple[list[str | int], str]:
    """Return a sorting key that reads digits as numbers; names like 1 and 01 are told apart last."""
    pieces = re.split(r"(\d+)", str(path.with_suffix("")).casefold())
    return [int(piece) if piece.isdecimal() else piece for piece in pieces], str(path)
