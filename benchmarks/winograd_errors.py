#!/usr/bin/env python3
"""Measure rounding errors of 3x3 convolutions in float32 against float64: RMS and largest.

    python -m benchmarks.winograd_errors
    python -m benchmarks.winograd_errors --search

The first rows compare the native op with PyTorch's direct convolutions on layers of the published
network. The others emulate Winograd's F(m x m, 3 x 3) with different interpolation points and 256
channels: all steps in float32, but filters transformed in float64 (in float32 by the native op).
Outputs have a deviation of about 1. `--search` tries the points 0, +-a, +-b for a and b on a grid
of sixteenths instead, and prints the best first.
"""

from __future__ import annotations

import argparse
import itertools

import torch
from torch import Tensor
from torch.nn import functional as F

from rmnet.ops import conv3x3

LAYERS = ((64, 64, 120, 216), (256, 256, 60, 108), (1024, 640, 30, 54))
POINTS = {
    "F(2), 0 1 -1": (0, 1, -1),
    "F(4), 0 1 -1 2 -2": (0, 1, -1, 2, -2),
    "F(4), 0 1 -1 1/2 -1/2": (0, 1, -1, 0.5, -0.5),
    "F(4), 0 1 -1 1/2 -2": (0, 1, -1, 0.5, -2),
    "F(4), 0 3/4 -3/4 3/2 -3/2": (0, 0.75, -0.75, 1.5, -1.5),
    "F(4), 0 5/8 -5/8 3/2 -3/2": (0, 0.625, -0.625, 1.5, -1.5),
    "F(6), 0 1 -1 2 -2 1/2 -1/2": (0, 1, -1, 2, -2, 0.5, -0.5),
}
TILES, CHANNELS, FILTERS = 32, 256, 32


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--search", action="store_true")
    if parser.parse_args().search:
        grid = [i / 16 for i in range(6, 44)]
        pairs = [(a, b) for a, b in itertools.combinations(grid, 2) if 0.5 < a * b < 3]
        tried = sorted((*emulate((0, a, -a, b, -b)), a, b) for a, b in pairs)
        for mean, largest, a, b in tried[:20]:
            print(f"a {a:<7} b {b:<7} {mean:.2e} {largest:.1e}")
        return
    for layer in LAYERS:
        for name, (mean, largest) in layer_errors(*layer).items():
            channels, out_channels, height, width = layer
            print(f"{channels}->{out_channels} at {height}x{width:<5}{name:<24}"
                  f"{mean:.1e} {largest:.1e}")  # fmt: skip
    for name, points in POINTS.items():
        mean, largest = emulate(points)
        print(f"{name:<32}{mean:.1e} {largest:.1e}")


def layer_errors(
    channels: int, out_channels: int, height: int, width: int
) -> dict[str, tuple[float, float]]:
    """Return the errors of one layer, by implementation."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn((1, channels, height, width), generator=g)
    weight = torch.randn((out_channels, channels, 3, 3), generator=g) / (9 * channels) ** 0.5
    last = x.contiguous(memory_format=torch.channels_last)
    want = F.conv2d(x.double(), weight.double(), padding=1)
    return {
        "native": errors(conv3x3(last, weight), want),
        "PyTorch, channels-last": errors(F.conv2d(last, weight, padding=1), want),
        "PyTorch, channels first": errors(F.conv2d(x, weight, padding=1), want),
    }


def emulate(points: tuple[float, ...]) -> tuple[float, float]:
    """Return the errors of a convolution of random patches."""
    from_patch, from_filter, to_tile = transforms(points)
    size = len(from_patch)
    g = torch.Generator().manual_seed(0)
    patches = torch.randn((TILES * CHANNELS, 1, size, size), generator=g)
    filters = torch.randn((FILTERS, CHANNELS, 3, 3), generator=g) / (9 * CHANNELS) ** 0.5
    want = F.conv2d(patches.double().view(TILES, CHANNELS, size, size), filters.double())
    left = both_sides(from_patch.float(), patches.view(TILES, CHANNELS, size, size))
    right = both_sides(from_filter, filters.double()).float()
    sums = torch.einsum("tcij,kcij->tkij", left, right)
    got = both_sides(to_tile.float(), sums)
    return errors(got, want)


def both_sides(matrix: Tensor, squares: Tensor) -> Tensor:
    """Compute matrix @ square @ matrix.T, term by term in the given dtype."""
    for axis in (-2, -1):
        columns = squares.movedim(axis, 0)
        rows = []
        for row in matrix:
            terms = [columns[i] * value for i, value in enumerate(row) if value != 0]
            rows.append(sum(terms[1:], terms[0]))
        squares = torch.stack(rows).movedim(0, axis)
    return squares


def transforms(points: tuple[float, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Return B', G and A' of winograd.h for any points and infinity, in float64."""
    size = len(points) + 1
    from_patch = torch.zeros((size, size), dtype=torch.float64)
    from_filter = torch.zeros((size, 3), dtype=torch.float64)
    to_tile = torch.zeros((size - 2, size), dtype=torch.float64)
    for i, point in enumerate(points):
        others = points[:i] + points[i + 1 :]
        divisor = 1.0
        for other in others:
            divisor *= point - other
        from_patch[i, : size - 1] = polynomial(others)
        from_filter[i] = torch.tensor([1, point, point**2], dtype=torch.float64) / divisor
        to_tile[:, i] = torch.tensor([float(point) ** power for power in range(size - 2)])
    from_patch[-1] = polynomial(points)
    from_filter[-1, 2] = to_tile[-1, -1] = 1
    return from_patch, from_filter, to_tile


def polynomial(roots: tuple[float, ...]) -> Tensor:
    """Return the coefficients of the product of (x - root), the constant first."""
    coefficients = [1.0]
    for root in roots:
        shifted = [0.0, *coefficients]
        coefficients = [
            before - root * now for before, now in zip(shifted, [*coefficients, 0.0], strict=True)
        ]
    return torch.tensor(coefficients, dtype=torch.float64)


def errors(got: Tensor, want: Tensor) -> tuple[float, float]:
    """Return the root mean square and the largest error."""
    difference = (got.double() - want).abs()
    return float(difference.square().mean().sqrt()), float(difference.max())


if __name__ == "__main__":
    main()
