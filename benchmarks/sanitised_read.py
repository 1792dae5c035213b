#!/usr/bin/env python3
"""Call every CUDA kernel of the regional read once, on small input, for compute-sanitizer.

compute-sanitizer python -m benchmarks.sanitised_read
"""

from __future__ import annotations

import itertools

import torch

from rmnet.ops import regional_read_native

HEIGHT, WIDTH, OBJECTS, FRAMES = 17, 23, 3, 4  # cells; odd sides leave tiles half empty
KEY_VALUE_WIDTHS = ((128, 512), (64, 192))
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def main() -> None:
    """Read random memory frames in random boxes."""
    corners = torch.rand((OBJECTS, FRAMES + 1, 2, 2)).sort(dim=2).values
    boxes = (torch.tensor((WIDTH, HEIGHT)) * corners).flatten(2).round().int().cuda()
    present = torch.rand((OBJECTS, FRAMES)).cuda() < 0.8
    grid = (HEIGHT, WIDTH)
    for (ck, cv), dtype in itertools.product(KEY_VALUE_WIDTHS, DTYPES):
        query = torch.randn((1, *grid, ck), device="cuda", dtype=dtype)
        key = torch.randn((OBJECTS, FRAMES, *grid, ck), device="cuda", dtype=dtype)
        value = torch.randn((OBJECTS, FRAMES, *grid, cv), device="cuda", dtype=dtype)
        queries = query.expand(OBJECTS, -1, -1, -1)
        regions = boxes[:, 0], boxes[:, 1:]
        for semantics in ("excluded", "zeroed"):
            regional_read_native(
                queries, key, value, *regions, present=present, semantics=semantics, scale=0.1
            )
    torch.cuda.synchronize()


if __name__ == "__main__":
    main()
