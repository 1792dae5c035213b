"""The images that clips are made of, in memory: stills with object masks, and real clips."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.free_data import without_photographs
from training.layouts import Found, LayoutError
from training.picture_cache import read_folders
from training.pictures import Picture, Video

# Clips of the train split of DAVIS that serve for checks, not for training.
HELD_OUT = ("bus", "dance-jump", "flamingo", "horsejump-low", "scooter-gray")
MIN_OBJECT = 12  # px, least width and height of an object to cut out
SIDE = 256  # px, shorter side that larger images are shrunk to when they are read
RIM = 2  # px around a cut-out, so that its border keeps its own colours


def default_data() -> Path:
    """Return the data folder: $RMNET_DATA, else ../shared/data beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    return Path(os.environ.get("RMNET_DATA", beside))


@dataclass(frozen=True)
class Cutout:
    """An object of a picture.

    Attributes:
        picture: Number of the picture.
        object_id: Label of the object in the picture.
        box: Box to cut out: the object and a rim, or the whole picture.
        centre: Centre (x, y) of the object, px from the top left corner of the box.
        longer: Longer side of the object, px.
    """

    picture: int
    object_id: int
    box: tuple[int, int, int, int]
    centre: tuple[float, float]
    longer: float

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the box, px."""
        return self.box[2] - self.box[0], self.box[3] - self.box[1]


@dataclass(frozen=True)
class Film:
    """A training clip: the numbers of its pictures, and their distance in frames."""

    numbers: range
    step: int


class Sources:
    """All images, in memory (1.3 GB for the full packs).

    Attributes:
        pictures: All stills and all frames of training clips.
        packs: Numbers of the stills that have a usable object, by pack.
        backgrounds: Numbers of the pictures that may lie under cut-outs.
        films: Training clips by name.
        held_out: Other clips by name.
    """

    def __init__(self, found: Sequence[Found], *, held_out: Collection[str] = HELD_OUT) -> None:
        """Take the contents of folders; without stills, objects are cut out of frames."""
        self.pictures: list[Picture] = []
        self.packs: dict[str, list[int]] = {}
        self.films: dict[str, Film] = {}
        self.held_out: dict[str, Video] = {}
        self.backgrounds: list[int] = []
        for folder in found:
            for name, stills in folder.packs.items():
                numbers = self._add(stills)
                self.backgrounds += numbers
                self.packs.setdefault(name, []).extend(self._with_objects(numbers))
        for name, video in ((k, v) for folder in found for k, v in folder.videos.items()):
            if name in held_out:
                self.held_out[name] = video
            else:
                self.films[name] = Film(self._add(video.pictures), video.step)
        if not self.backgrounds:
            frames = [number for film in self.films.values() for number in film.numbers]
            self.backgrounds, self.packs = frames, {"frames": self._with_objects(frames)}
        self.packs = {name: numbers for name, numbers in self.packs.items() if numbers}
        if not self.packs:
            raise LayoutError(
                f"{len(self.pictures)} pictures were found, but no object that covers 1 % to 60 % "
                f"of its picture and is at least {MIN_OBJECT} px wide and high; give other folders "
                "with --data"
            )
        # Small packs are drawn more often than their size suggests, but less than large ones.
        weights = np.sqrt([len(numbers) for numbers in self.packs.values()])
        self._pack_weights = weights / weights.sum()
        self._pack_names = list(self.packs)

    @classmethod
    def read(
        cls,
        folders: Sequence[Path],
        *,
        held_out: Collection[str] = HELD_OUT,
        side: int | None = SIDE,
        max_stills: int | None = None,
        shapes: int | None = None,
        cache: Path | None = None,
    ) -> Sources:
        """Read folders in any of the layouts of `layouts.py`.

        Args:
            folders: The data folders.
            held_out: Names of clips that are not trained on.
            side: Larger images are shrunk to this shorter side, px; None to keep their size.
            max_stills: Number of stills to read of each pack; None for all.
            shapes: Number of stills of shapes to draw, which replace the stills of the folders
                together with frames of the clips; None to use the stills of the folders.
            cache: File that keeps the decoded images; None for no file.
        """
        found = read_folders(folders, side=side, max_stills=max_stills, cache=cache)
        if shapes is not None:
            found = [
                without_photographs(x, held_out=held_out, shapes=shapes if n == 0 else 0)
                for n, x in enumerate(found)
            ]
        return cls(found, held_out=held_out)

    def random_background(self, rng: np.random.Generator) -> int:
        """Draw the number of a background picture."""
        return self.backgrounds[rng.integers(len(self.backgrounds))]

    def random_object(self, rng: np.random.Generator, *, whole: bool = False) -> Cutout:
        """Draw an object of a still, cut out with a rim or, if `whole`, with the whole still."""
        numbers = self.packs[self._pack_names[rng.choice(len(self.packs), p=self._pack_weights)]]
        number = numbers[rng.integers(len(numbers))]
        usable = self.pictures[number].usable(MIN_OBJECT)
        return self.cut(number, usable[rng.integers(len(usable))], whole=whole)

    def cut(self, number: int, object_id: int, *, whole: bool = False) -> Cutout:
        """Cut an object out of a picture, with a rim or, if `whole`, with the whole picture."""
        picture = self.pictures[number]
        x0, y0, x1, y1 = picture.boxes[object_id]
        width, height = picture.size
        box = (0, 0, width, height) if whole else (
            max(x0 - RIM, 0), max(y0 - RIM, 0), min(x1 + RIM, width), min(y1 + RIM, height),
        )  # fmt: skip
        centre = ((x0 + x1 - 1) / 2 - box[0], (y0 + y1 - 1) / 2 - box[1])
        return Cutout(number, object_id, box, centre, float(max(x1 - x0, y1 - y0)))

    def _add(self, pictures: Sequence[Picture]) -> range:
        first = len(self.pictures)
        self.pictures += pictures
        return range(first, len(self.pictures))

    def _with_objects(self, numbers: Sequence[int]) -> list[int]:
        return [number for number in numbers if self.pictures[number].usable(MIN_OBJECT)]
