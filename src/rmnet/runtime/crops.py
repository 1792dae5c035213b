"""Parts of frames: boxes of cells to cut out, and how far the edge of such a crop is felt.

A convolution at the edge of a crop sees zeros where the frame goes on, so its outermost results
are wrong, and every convolution after it carries the error further in. The results further inside
equal those of the whole frame.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, cast

from torch import Tensor, nn

from rmnet.network import Encoder, InvertedResidual, MemoryEncoder, ResNetBlock


class CellBox(NamedTuple):
    """The cells x0 <= x < x1 and y0 <= y < y1 of the stride-16 grid, known on the host."""

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
        """Return the box with `cells` more cells on every side, clipped to `within`."""
        return CellBox(
            max(self.x0 - cells, within.x0),
            max(self.y0 - cells, within.y0),
            min(self.x1 + cells, within.x1),
            min(self.y1 + cells, within.y1),
        )

    def seen_from(self, other: CellBox) -> CellBox:
        """Return the same cells, counted from the corner of another box."""
        x, y = other.x0, other.y0
        return CellBox(self.x0 - x, self.y0 - y, self.x1 - x, self.y1 - y)

    def cut(self, planes: Tensor, scale: int = 1) -> Tensor:
        """Return these cells of (..., h, w) as a view, `scale` positions a cell and direction."""
        x0, y0, x1, y1 = (scale * i for i in self)
        return planes[..., y0:y1, x0:x1]


def union(boxes: Iterable[CellBox]) -> CellBox:
    """Return the smallest box that holds all; empty ones add nothing."""
    full = [box for box in boxes if not box.is_empty]
    if not full:
        return CellBox(0, 0, 0, 0)
    x0, y0, x1, y1 = zip(*full, strict=True)
    return CellBox(min(x0), min(y0), max(x1), max(y1))


def encoder_halo(encoder: Encoder) -> int:
    """Return the number of outer cells of f16 that the edge of a cropped image makes wrong."""
    edge = wrong_results(encoder.stem, 0)
    if isinstance(encoder, MemoryEncoder):  # both mask stems have one shape
        edge = max(edge, wrong_results(encoder.mask_stem, 0))
    for part in (encoder.stem_activation, encoder.stage4, encoder.stage8, encoder.stage16):
        edge = wrong_results(part, edge)
    return edge


def wrong_results(layer: nn.Module, edge: int) -> int:
    """Return the number of outer results that are wrong if `edge` outer rows of the input are.

    A layer other than a convolution or a pooling is taken to work on each position by itself.
    """
    if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
        stride, padding = (_side(x) for x in (layer.stride, layer.padding))
        reach = _side(layer.dilation) * (_side(layer.kernel_size) - 1)
        # Result i sees inputs i * stride - padding to that + reach. At the near side those below
        # `edge` are wrong, at the far side those from the size - edge on.
        near = -(-(edge + padding) // stride)
        far = (edge + reach - padding) // stride
        return max(near, far)
    parts = layer.children()
    if isinstance(layer, ResNetBlock | InvertedResidual):  # its shortcut reaches no further
        parts = (conv for conv, _ in layer.main_path())
    for part in parts:
        edge = wrong_results(part, edge)
    return edge


def _side(size: int | str | tuple[int, ...]) -> int:
    """Return a setting of a layer, which is the same in both directions."""
    return size if isinstance(size, int) else cast("tuple[int, ...]", size)[0]
