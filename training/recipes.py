"""Recipes of batches, and mixtures of recipes."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from training.strict_json import TrainingConfigError, build, check


@dataclass(frozen=True)
class Curve:
    """A piecewise linear function of progress, given by (progress, value) points.

    In JSON, a number or a list of points such as [[0, 1], [0.5, 0.25]]. The curve is constant
    before the first and after the last point. Two points at one progress make a step; the second
    counts there.
    """

    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        check(len(self.points) > 0, "points", self.points, "one point or more")
        rising = all(a[0] <= b[0] for a, b in pairwise(self.points))
        check(rising, "points", self.points, "points by rising progress")

    @classmethod
    def constant(cls, value: float) -> Curve:
        """Make a constant curve."""
        return cls(((0.0, value),))

    @classmethod
    def read_json(cls, value: Any, where: str) -> Curve:  # noqa: ANN401 anything JSON holds
        """Read a number or a list of points."""
        if isinstance(value, list):
            points = build(tuple[tuple[float, float], ...], value, where)
            try:
                return cls(points)
            except TrainingConfigError as error:
                raise TrainingConfigError(f"{where}: {error}") from error
        return cls.constant(build(float, value, where))

    def __call__(self, progress: float) -> float:
        """Return the value at a progress in [0, 1]."""
        before = [point for point in self.points if point[0] <= progress]
        after = self.points[len(before) :]
        if not before:
            return self.points[0][1]
        if not after:
            return before[-1][1]
        (start, low), (end, high) = before[-1], after[0]
        return low + (high - low) * (progress - start) / (end - start)

    @property
    def lowest(self) -> float:
        """The smallest value."""
        return min(value for _, value in self.points)


@dataclass(frozen=True)
class Recipe:
    """The recipe of one batch.

    Attributes:
        height: Height of the clips, px.
        width: Width of the clips, px.
        frames: Number of frames T.
        objects: Number of targets N.
        batch: Number of clips.
        real: Part of the clips that are real.
        max_gap: Largest distance of two frames of a real clip, in frames of the film.
        motion: Factor on the speed of synthetic motion.
        colour: Factor on the colour changes; 0 leaves the colours alone.
        twins: Part of the distractors that are copies of a target.
        moved_whole: Part of the synthetic clips with one target that move one still whole.
        smallest: Longer side of the smallest objects, px.
        thin: Part of the cut-outs that are stretched to 2 to 8 times their aspect.
        jump: Largest movement of a cut-out per frame besides its walk, in lengths of the object.
        blur: Longest exposure of the cut-outs, as a part of the time between two frames.
    """

    height: int
    width: int
    frames: int = 2
    objects: int = 1
    batch: int = 1
    real: float = 0.0
    max_gap: int = 5
    motion: float = 1.0
    colour: float = 1.0
    twins: float = 0.5
    moved_whole: float = 0.4
    smallest: float = 24.0
    thin: float = 0.0
    jump: float = 0.0
    blur: float = 0.0

    @property
    def side(self) -> int:
        """Shorter side, px."""
        return min(self.height, self.width)

    @property
    def least_area(self) -> float:
        """Smallest visible area of every target in frame 0, px: about a tenth of its box."""
        return 60 * (self.smallest / 24) ** 2


@dataclass(frozen=True, kw_only=True)
class Ingredient:
    """A range of recipes in a mixture. See `Recipe` for the fields that are not listed.

    Attributes:
        chance: Share of the batches, relative to the other chances of the mixture; a curve.
        size: Height and width, px.
        objects: Numbers of targets N, each equally likely.
        motion: Factor on the speed; a curve.
        slowest: The factor is drawn between this part of `motion` and all of it.
    """

    size: tuple[int, int]
    batch: int
    chance: Curve = field(default_factory=lambda: Curve.constant(1.0))
    frames: int = 2
    objects: tuple[int, ...] = (1,)
    real: float = 0.0
    max_gap: int = 5
    motion: Curve = field(default_factory=lambda: Curve.constant(1.0))
    slowest: float = 1.0
    colour: float = 1.0
    twins: float = 0.5
    moved_whole: float = 0.4
    smallest: float = 24.0
    thin: float = 0.0
    jump: float = 0.0
    blur: float = 0.0

    def __post_init__(self) -> None:
        sixteens = all(side > 0 and side % 16 == 0 for side in self.size)
        check(sixteens, "size", self.size, "height and width in px, multiples of 16")
        check(self.batch >= 1, "batch", self.batch, "at least 1")
        check(self.frames >= 2, "frames", self.frames, "at least 2")
        check(self.max_gap >= 1, "max_gap", self.max_gap, "at least 1")
        counts = bool(self.objects) and min(self.objects) >= 1
        check(counts, "objects", self.objects, "a list of numbers from 1")
        check(self.chance.lowest >= 0, "chance", self.chance, "values from 0")
        check(self.motion.lowest >= 0, "motion", self.motion, "values from 0")
        check(self.smallest >= 8, "smallest", self.smallest, "at least 8 px")
        for name in ("colour", "jump"):
            check(getattr(self, name) >= 0, name, getattr(self, name), "at least 0")
        for name in ("real", "slowest", "twins", "moved_whole", "thin", "blur"):
            value = getattr(self, name)
            check(0 <= value <= 1, name, value, "a number from 0 to 1")

    def draw(self, progress: float, rng: np.random.Generator) -> Recipe:
        """Draw a recipe at a progress in [0, 1]."""
        return Recipe(
            *self.size,
            frames=self.frames,
            objects=int(self.objects[rng.integers(len(self.objects))]),
            batch=self.batch,
            real=self.real,
            max_gap=self.max_gap,
            motion=float(self.motion(progress) * rng.uniform(self.slowest, 1)),
            colour=self.colour,
            twins=self.twins,
            moved_whole=self.moved_whole,
            smallest=self.smallest,
            thin=self.thin,
            jump=self.jump,
            blur=self.blur,
        )


@dataclass(frozen=True)
class Mixture:
    """Ingredients to draw recipes from; in JSON, a list of them."""

    ingredients: tuple[Ingredient, ...]

    @classmethod
    def read_json(cls, value: Any, where: str) -> Mixture:  # noqa: ANN401 anything JSON holds
        """Read a list of ingredients."""
        ingredients = build(tuple[Ingredient, ...], value, where)
        if not ingredients:
            raise TrainingConfigError(f"{where} is empty; accepted: one recipe or more")
        return cls(ingredients)

    def draw(self, progress: float, rng: np.random.Generator) -> Recipe:
        """Draw the recipe of a batch."""
        chances = np.array([ingredient.chance(progress) for ingredient in self.ingredients])
        if chances.sum() <= 0:
            raise TrainingConfigError(
                f"no recipe has a chance at progress {progress:.3f}; raise one's `chance` there"
            )
        chosen = self.ingredients[rng.choice(len(chances), p=chances / chances.sum())]
        return chosen.draw(progress, rng)
