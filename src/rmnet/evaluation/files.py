"""Folders of a data set: what is in them, in order, and how their absence is told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rmnet.errors import ConfigError
from rmnet.io import open_frames

LONGEST_NAME = 255  # bytes of a file's name, on nearly every file system


def images_in(folder: Path) -> tuple[Path, ...]:
    """Image files of a folder in natural order; none if there is no such folder, or it is empty.

    Raises:
        VideoError: there are other files only, or two images of one name, such as a JPEG and a PNG.
    """
    if not folder.is_dir() or not any(one.name[0] != "." for one in folder.iterdir()):
        return ()
    return tuple(open_frames(folder).paths or ())


def _is_folder_name(name: str) -> bool:
    """Whether a folder of that name is made where it should be, on every system."""
    if name in (".", "..", "") or any(character in name for character in "/\\\0"):
        return False
    try:
        return len(name.encode()) <= LONGEST_NAME
    except UnicodeEncodeError:  # half of a character, which JSON can spell
        return False


def folders_in(folder: Path) -> list[str]:
    """Names of the folders in a folder, hidden ones apart, in order."""
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")


def require_folder(folder: Path, *, layout: str) -> Path:
    """The folder itself.

    Raises:
        ConfigError: there is none; the message shows the layout.
    """
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {str(folder)!r}; accepted: {layout}")
    return folder


def choose_clips(found: Sequence[str], wanted: Sequence[str] | None) -> list[str]:
    """The clips to run.

    Args:
        found: Names of all of them.
        wanted: Names of some; None for all.

    Raises:
        ConfigError: one that is wanted is not there, there is none at all, or one is no name of
            a folder.
    """
    bad = [name for name in found if not _is_folder_name(name)]
    if bad:  # predictions go to a folder of that name
        raise ConfigError(
            f"a clip is called {bad[0][:LONGEST_NAME]!r}; accepted: names of folders, at most "
            f"{LONGEST_NAME} bytes"
        )
    strangers = [name for name in wanted or () if name not in found]
    if strangers or not found:
        raise ConfigError(
            f"there is no clip {strangers[0]!r}; accepted: {', '.join(found)}"
            if strangers
            else "there are no clips; accepted: a data set with at least one"
        )
    return [name for name in found if wanted is None or name in wanted]
