"""The images clips are made from, kept in memory: stills with object masks, and DAVIS clips."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

# Clips of DAVIS's train split that no weights are made from: the run's own yardstick.
HELD_OUT = ("bus", "dance-jump", "flamingo", "horsejump-low", "scooter-gray")
MIN_OBJECT = 12  # px in a still; smaller cut-outs are crumbs


def default_data() -> Path:
    """Return the data folder: $RMNET_DATA, else ../shared/data beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    return Path(os.environ.get("RMNET_DATA", beside))


@dataclass(frozen=True)
class Still:
    """One photograph: image uint8 (3, h, w), labels uint8 (h, w), and the usable object ids."""

    image: Tensor
    labels: Tensor
    objects: tuple[int, ...]


@dataclass(frozen=True)
class Video:
    """One real clip: frames uint8 (T, 3, h, w), masks uint8 0/1 (T, h, w)."""

    frames: Tensor
    masks: Tensor


@dataclass(frozen=True)
class Cutout:
    """An object on its own: picture float 0..255 (4, h, w), channel 3 its mask 0..1.

    Attributes:
        picture: The crop of its image, a small rim included.
        centre: Centre (x, y) of its box, px of the picture.
        size: Longer side of its box, px of the picture.
    """

    picture: Tensor
    centre: tuple[float, float]
    size: float

    def shrunk_for(self, scale: float) -> tuple[Cutout, float]:
        """Halve the picture until `scale` is above 1/2: bilinear look-ups alias below that.

        Returns:
            The cut-out, and the scale that draws it at the same size as before.
        """
        picture, factor = self.picture, 1
        while scale * factor <= 0.5 and min(picture.shape[1:]) >= 8:
            picture = F.avg_pool2d(picture[None], 2, ceil_mode=True)[0]
            factor *= 2
        # Pixel i of the halved picture has its centre at 2i + 1/2 of the whole one.
        x, y = ((c + 0.5) / factor - 0.5 for c in self.centre)
        return Cutout(picture, (x, y), self.size / factor), scale * factor


def cut(image: Tensor, mask: Tensor, *, whole: bool = False) -> Cutout | None:
    """Take an object (mask (h, w) bool) out of its image; None if it is too small or thin.

    With `whole` the picture is all of the image, not the object's surroundings.
    """
    rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
    if len(rows) < MIN_OBJECT or len(columns) < MIN_OBJECT:
        return None
    (y0, y1), (x0, x1) = (
        (int(rows[0]), int(rows[-1]) + 1),
        (int(columns[0]), int(columns[-1]) + 1),
    )
    rim = 0 if whole else 2
    top, left = (0, 0) if whole else (max(y0 - rim, 0), max(x0 - rim, 0))
    bottom, right = mask.shape if whole else (y1 + rim, x1 + rim)
    picture = torch.cat([image, mask[None]])[:, top:bottom, left:right].float()
    centre = ((x0 + x1 - 1) / 2 - left, (y0 + y1 - 1) / 2 - top)
    return Cutout(picture, centre, float(max(y1 - y0, x1 - x0)))


def read_image(path: Path) -> Tensor:
    """Read an RGB image as uint8 (3, h, w)."""
    with Image.open(path) as image:
        return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).contiguous()


def read_labels(path: Path) -> Tensor:
    """Read a label map as uint8 (h, w)."""
    with Image.open(path) as image:
        return torch.from_numpy(np.array(image).astype(np.uint8))


def read_still(image_path: Path) -> Still:
    """Read a photograph and its label map; objects are those of 1 % to 60 % of its area."""
    labels = read_labels(image_path.with_suffix(".png"))
    ids, counts = np.unique(labels.numpy(), return_counts=True)
    usable = (ids > 0) & (counts > 0.01 * labels.numel()) & (counts < 0.6 * labels.numel())
    return Still(read_image(image_path), labels, tuple(ids[usable].tolist()))


def read_video(folder: Path) -> Video:
    """Read a folder of `00000.jpg`, `00000.png`, ..."""
    images = sorted(folder.glob("*.jpg"))
    masks = [read_labels(path.with_suffix(".png")) > 0 for path in images]
    return Video(torch.stack([read_image(path) for path in images]), torch.stack(masks).byte())


class Sources:
    """All images, in memory (1.3 GB for the full packs).

    Attributes:
        packs: Stills by pack, only those with a usable object.
        backgrounds: Every still.
        videos: Training clips by name; `held_out` has the others.
    """

    def __init__(self, root: Path, *, max_stills: int | None = None) -> None:
        """Read `root`/train/stills-*/<pack>/ and `root`/train/davis/<clip>/.

        Args:
            root: The data folder.
            max_stills: Stills read of each pack; None for all.
        """
        train = root / "train"
        self.packs: dict[str, list[Still]] = {}
        self.backgrounds: list[Still] = []
        for folder in sorted(train.glob("stills-*/*")):
            stills = [read_still(path) for path in sorted(folder.glob("*.jpg"))[:max_stills]]
            self.packs[folder.name] = [still for still in stills if still.objects]
            self.backgrounds += stills
        videos = {folder.name: folder for folder in sorted((train / "davis").glob("*"))}
        self.videos = {k: read_video(v) for k, v in videos.items() if k not in HELD_OUT}
        self.held_out = {k: read_video(v) for k, v in videos.items() if k in HELD_OUT}
        if not self.backgrounds or not self.videos:
            raise FileNotFoundError(
                f"no stills or no clips under {train}; expected stills-*/<pack>/*.jpg with .png "
                "masks and davis/<clip>/*.jpg with .png masks. Give the folder with --data"
            )
        # Small packs are drawn more often than their share, but not as often as large ones.
        weights = np.sqrt([len(stills) for stills in self.packs.values()])
        self._pack_weights = weights / weights.sum()
        self._pack_names = list(self.packs)

    def random_background(self, rng: np.random.Generator) -> Tensor:
        """Draw an image, uint8 (3, h, w)."""
        return self.backgrounds[rng.integers(len(self.backgrounds))].image

    def random_object(self, rng: np.random.Generator, *, whole: bool = False) -> Cutout:
        """Draw an object of a still; with `whole` its picture is the whole still."""
        while True:
            pack = self.packs[self._pack_names[rng.choice(len(self.packs), p=self._pack_weights)]]
            still = pack[rng.integers(len(pack))]
            mask = still.labels == still.objects[rng.integers(len(still.objects))]
            found = cut(still.image, mask, whole=whole)
            if found is not None:
                return found
