"""A box of cells of the stride-16 grid, known on the host, to compute on a part of a frame."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from torch import Tensor


class CellBox(NamedTuple):
    """Cells x0 <= x < x1 and y0 <= y < y1."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def is_empty(self) -> bool:
        """Whether it holds no cell."""
        return self.x1 <= self.x0 or self.y1 <= self.y0

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.y1 - self.y0, self.x1 - self.x0

    def widened(self, cells: int, within: CellBox) -> CellBox:
        """With so many cells more on every side, as far as `within` has them."""
        return CellBox(
            max(self.x0 - cells, within.x0),
            max(self.y0 - cells, within.y0),
            min(self.x1 + cells, within.x1),
            min(self.y1 + cells, within.y1),
        )

    def seen_from(self, other: CellBox) -> CellBox:
        """The same cells, counted from the corner of another box."""
        x, y = other.x0, other.y0
        return CellBox(self.x0 - x, self.y0 - y, self.x1 - x, self.y1 - y)

    def cut(self, planes: Tensor, scale: int = 1) -> Tensor:
        """These cells of (..., h, w), a view; `scale` positions a cell in each direction."""
        x0, y0, x1, y1 = (scale * i for i in self)
        return planes[..., y0:y1, x0:x1]


def union(boxes: Iterable[CellBox]) -> CellBox:
    """The smallest box that holds all; empty ones add nothing."""
    full = [box for box in boxes if not box.is_empty]
    if not full:
        return CellBox(0, 0, 0, 0)
    x0, y0, x1, y1 = zip(*full, strict=True)
    return CellBox(min(x0), min(y0), max(x1), max(y1))
