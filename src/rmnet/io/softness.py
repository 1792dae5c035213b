"""Tell label maps from masks with soft edges: resized with interpolation, blurred, or JPEG.

In a label map every id is solid somewhere, or a thin or tiny object of one level. Softening puts
other levels between two levels that are solid: as ramps along contours, or as noise around them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rmnet.errors import MaskError

# Of 255, or of 65535 in maps that count beyond 255.
_WHITE = 192  # at least, the brightest level of a binary mask, which blurring may have darkened
_NOISE = 4  # levels as close as this to black or white may fill areas of a JPEG or a wide blur
_FLAT = 16  # or less, the contrast within a grey object in a JPEG

_NEAR = 3  # px; how far along a row or column the levels around a pixel are looked for
_MANY_LEVELS = 8  # without a solid part; fewer may be thin or tiny objects
# Shares. benchmarks/soft_masks.py measures the error rates; see docs/lab/soft-masks.md.
_MIN_SOLID = 4  # px that 3 x 3 pixels of one level surround; in noise, one may be by chance
_MIN_LOOSE = 12  # px; with less there is nothing to judge
_MIN_LOOSE_ALONE = 64  # px, where the brightest level is not solid; noise may look like anything
_FEW_LEVELS = 3  # without a solid part, and more than the solid ones; nearly all on ramps
_NEARLY_ALL_RAMPS = 0.75  # of loose pixels
_MOSTLY_RAMPS = 0.5  # of loose pixels
_RINGS = 0.6  # of loose pixels, where ids are solid
_MIN_RINGS = 120  # px; fewer may be the tips of a few regions
_MEDIATED = 0.45  # of the contours between levels that are not next to each other
_LONELY = 0.3  # of loose pixels
_BRIGHT = 0.1  # of loose pixels
_CONSISTENT = 0.9  # of loose pixels
_GREY = 0.02  # of contour pixels


def soft_threshold(
    labels: NDArray[Any], *, name: str = "the mask", lossy: bool = False
) -> float | None:
    """Return the level between background and object of a soft binary mask.

    Args:
        labels: (H, W) of any integer dtype.
        name: Of the mask in messages.
        lossy: Whether it comes from a JPEG, which cannot hold ids.

    Returns:
        Half of white; None for a label map, or for a binary mask that is not soft.

    Raises:
        MaskError: the map is softened, and has several objects, or none that is solid and white.
    """
    if labels.size == 0 or labels.min() < 0:
        return None
    top = int(labels.max())
    white = 255 if top <= 255 else 65535
    is_white = _WHITE / 255 * white <= top <= white
    noise = _NOISE / 255 * top if is_white else 0
    structure = _Structure.of(_objects(labels), noise)
    if len(structure.levels) < 2:
        return white / 2 if lossy and is_white and top < white else None
    if not lossy and not structure.is_soft(is_white=is_white):
        return None
    if is_white and not structure.has_solid_grey and structure.has_solid_white:
        return white / 2
    raise MaskError(
        f"{name} has {len(structure.levels)} levels above 0, most of which only line contours "
        "or lie scattered, as in a mask that was resized, blurred or saved as JPEG; accepted: "
        f"one id an object, or a soft mask of one white object. Write np.asarray(mask) > "
        f"{top // 2} for one object, Image.NEAREST to resize a label map, or "
        f"object_ids={list(structure.solid[:9] or (top,))}, if these are the objects"
    )


def _objects(labels: NDArray[Any]) -> NDArray[Any]:
    """Cut out all that is not 0, with a margin of one pixel where there is one."""
    ends: list[slice] = []
    for axis in (1, 0):
        occupied = np.flatnonzero(labels.any(axis=axis))
        if not len(occupied):
            return labels[:0, :0]
        ends.append(slice(max(int(occupied[0]) - 1, 0), int(occupied[-1]) + 2))
    cut = labels[ends[0], ends[1]]
    return cut.astype(np.uint16 if cut.max() < 2**16 else np.uint64)


@dataclass(frozen=True, slots=True)
class _Structure:
    """What a map looks like around its contours.

    A pixel is solid if it lies in 3 x 3 pixels of its level, and loose if it does not and its
    level lies between 0 and the brightest.

    Attributes:
        levels: All above 0, ascending.
        noise: Distance from 0 and from the brightest level up to which a level is noise.
        solid: Levels with solid pixels, ascending.
        has_solid_grey: Whether a level other than 0, the brightest and noise is solid, or nearly.
        has_solid_white: Whether 3 x 3 pixels are in the upper half.
        has_solid_top: Whether the brightest level is solid, or one that differs by noise.
        contour: Number of pixels around which the level changes.
        loose: Number of loose pixels.
        ramps: Number of loose pixels between a lower and a higher level, and no local extrema.
        lonely: Number of loose pixels whose level no neighbour has, and that are no lone dots.
        bright: Number of loose pixels in the upper half.
        consistent: Number of loose pixels of whose neighbours at least four are in the same half.
        jumps: Number of neighbours in rows and columns with another level of the map in between.
    """

    levels: NDArray[Any]
    noise: float
    solid: tuple[int, ...] = ()
    has_solid_grey: bool = False
    has_solid_white: bool = False
    has_solid_top: bool = False
    contour: int = 0
    loose: int = 0
    ramps: int = 0
    lonely: int = 0
    bright: int = 0
    consistent: int = 0
    jumps: int = 0

    @staticmethod
    def of(labels: NDArray[Any], noise: float) -> _Structure:
        levels = _present(labels)
        if len(levels) < 2:
            return _Structure(levels, noise)
        top = levels[-1]
        half = labels > top / 2
        lowest, highest = _around(labels, np.minimum), _around(labels, np.maximum)
        core = lowest == highest
        y, x = np.nonzero(~_around(core, np.maximum) & (labels > 0) & (labels < top))
        own = labels[y, x]
        others = np.stack([_at(labels, y + dy, x + dx) for dy, dx in _NEIGHBOURS])
        is_bright = half[y, x]
        same = np.stack([_at(half, y + dy, x + dx) for dy, dx in _NEIGHBOURS]) == is_bright
        is_consistent = same.sum(axis=0) >= 4
        solid = _present(labels[core])
        contour = _count(~core)
        nearly = (highest - lowest <= _FLAT / 255 * top) & (lowest > top / 4)
        num_grey = _count(nearly & (highest < 0.75 * top))
        return _Structure(
            levels=levels,
            noise=noise,
            solid=tuple(solid.tolist()),
            has_solid_grey=bool(((solid > noise) & (solid < top - noise)).any())
            or num_grey > max(_GREY * contour, 9),
            has_solid_white=_count(_around(half, np.minimum)) >= _MIN_SOLID
            and 2 * _count(is_bright & is_consistent) >= _count(is_bright),
            has_solid_top=_count(core & (labels >= top - noise)) >= _MIN_SOLID,
            contour=contour,
            loose=len(y),
            ramps=_count(_on_ramps(labels, y, x)),
            lonely=_count((others != own).all(0) & (others != others[0]).any(0)),
            bright=_count(is_bright),
            consistent=_count(is_consistent),
            jumps=_count_jumps(labels, levels),
        )

    def is_soft(self, *, is_white: bool) -> bool:
        """Return whether the levels are mostly those of soft edges."""
        if self.loose < (_MIN_LOOSE if self.has_solid_top else _MIN_LOOSE_ALONE):
            return False
        num_loose = len(self.levels) - len(self.solid)
        mostly_ramps = self.ramps >= _MOSTLY_RAMPS * self.loose
        if num_loose >= _MANY_LEVELS and (not self.has_solid_grey or num_loose > len(self.solid)):
            noisy = self.lonely >= _LONELY * self.loose
            two_sided = (
                is_white
                and self.bright >= _BRIGHT * self.loose
                and self.consistent >= _CONSISTENT * self.loose
            )
            return mostly_ramps or noisy or two_sided
        if self.has_solid_grey:
            if _FEW_LEVELS <= num_loose > len(self.solid) and self.loose >= _MIN_LOOSE_ALONE:
                return self.ramps >= _NEARLY_ALL_RAMPS * self.loose
            are_rings = self.ramps >= max(_RINGS * self.loose, _MIN_RINGS)
            return are_rings and self.ramps >= _MEDIATED * (self.ramps + self.jumps)
        others, top = self.levels[:-1], self.levels[-1]
        near_black, near_white = others <= self.noise, others >= top - self.noise
        is_noise = (
            near_black.any()
            and near_white.any()
            and len(self.solid) == 1
            and self.consistent >= _CONSISTENT * self.loose
        )
        return bool(is_noise) or (mostly_ramps and not near_black.all())


def _count(mask: NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(mask))


_NEIGHBOURS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]


def _present(values: NDArray[Any]) -> NDArray[Any]:
    """Return the distinct values above 0, ascending."""
    if values.dtype == np.uint16:  # ten times faster than sorting
        return np.flatnonzero(np.bincount(values.ravel(), minlength=1)[1:]) + 1
    return np.unique(values[values > 0])


def _around(values: NDArray[Any], pick: np.ufunc) -> NDArray[Any]:
    """Return the minimum or maximum over the 3 x 3 pixels around each; the border repeats."""
    padded = np.pad(values, 1, mode="edge") if values.size else np.zeros((2, 2), values.dtype)
    rows = pick(pick(padded[:-2], padded[1:-1]), padded[2:])
    return pick(pick(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])


def _at(values: NDArray[Any], y: NDArray[np.intp], x: NDArray[np.intp]) -> NDArray[Any]:
    height, width = values.shape
    return values[y.clip(0, height - 1), x.clip(0, width - 1)]


def _count_jumps(labels: NDArray[Any], levels: NDArray[Any]) -> int:
    ranks = np.searchsorted(levels, labels, side="right").astype(np.intp)
    across, down = np.diff(ranks, axis=1), np.diff(ranks, axis=0)
    return _count(abs(across) > 1) + _count(abs(down) > 1)


def _on_ramps(labels: NDArray[Any], y: NDArray[np.intp], x: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Return which of n pixels lie between a lower and a higher level of their row or column.

    Those that are a peak or a valley in the other direction do not.
    """
    own = labels[y, x]
    ramp, extremum = np.zeros((2, len(own)), np.bool_)
    for dy, dx in ((0, 1), (1, 0)):
        sides: list[NDArray[Any]] = []
        for sign in (-1, 1):
            other = own
            for step in range(_NEAR * sign, 0, -sign):  # so that the nearest other level wins
                level = _at(labels, y + step * dy, x + step * dx)
                other = np.where(level != own, level, other)
            sides.append(other)
        before, after = sides
        ramp |= ((before < own) & (own < after)) | ((before > own) & (own > after))
        extremum |= ((before < own) & (after < own)) | ((before > own) & (after > own))
    return ramp & ~extremum
