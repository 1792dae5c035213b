#!/usr/bin/env python3
"""The regional read against other ways to compute the same, interleaved; medians and ratios.

    python benchmarks/bench_regional_read.py --threads 1 --json read.json

Variants: `library`, what rmnet.ops.regional_read does (compact cells, an object at a time);
`dense`, zeros everywhere and a full softmax, as the released code does; `padded`, all objects in
one batch, each padded to the largest region.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from rmnet.ops import regional_read
from rmnet.regions import cells_in_boxes

SIZES = {"paper": (30, 54, 128, 512), "small": (15, 27, 64, 192)}  # h, w, ck, cv
SEMANTICS = "excluded"


def main() -> None:
    """Print a row a case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--sizes", nargs="*", choices=SIZES, default=list(SIZES))
    parser.add_argument("--frames", nargs="*", type=int, default=[5, 10])
    parser.add_argument("--objects", nargs="*", type=int, default=[1, 3, 8])
    parser.add_argument("--shares", nargs="*", type=float, default=[0.05, 0.2, 0.5, 1.0])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = []
    print(f"{'size':<7}{'T':>3}{'n':>3}{'share':>7}   ms: " + "".join(f"{v:>10}" for v in VARIANTS))
    for size in arguments.sizes:
        for frames in arguments.frames:
            for n in arguments.objects:
                for share in arguments.shares:
                    inputs = make_inputs(*SIZES[size], frames=frames, n=n, share=share)
                    times = measure(inputs, arguments.repeats)
                    rows.append({"size": size, "T": frames, "n": n, "share": share, "ms": times})
                    cells = "".join(f"{1000 * t:>10.2f}" for t in times.values())
                    ratios = ", ".join(
                        f"{name} {t / times['library']:.2f}x"
                        for name, t in times.items()
                        if name != "library"
                    )
                    print(f"{size:<7}{frames:>3}{n:>3}{share:>7.2f}       {cells}   {ratios}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"torch": torch.__version__, "rows": rows}, indent=1))


def make_inputs(
    h: int, w: int, ck: int, cv: int, *, frames: int, n: int, share: float
) -> tuple[Tensor, ...]:
    """Random keys and values, and boxes of about `share` of the grid, a different place each."""
    g = torch.Generator().manual_seed(0)
    bh, bw = max(1, round(h * share**0.5)), max(1, round(w * share**0.5))
    y0 = torch.randint(0, h - bh + 1, (n, frames + 1), generator=g)
    x0 = torch.randint(0, w - bw + 1, (n, frames + 1), generator=g)
    boxes = torch.stack((x0, y0, x0 + bw, y0 + bh), dim=-1).int()
    return (
        torch.randn((1, h, w, ck), generator=g).expand(n, -1, -1, -1),
        torch.randn((n, frames, h, w, ck), generator=g),
        torch.randn((n, frames, h, w, cv), generator=g),
        boxes[:, 0],
        boxes[:, 1:],
    )


def measure(inputs: tuple[Tensor, ...], repeats: int) -> dict[str, float]:
    """Median seconds of each variant, in turns."""
    want = VARIANTS["library"](*inputs)
    times: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for name, variant in VARIANTS.items():  # also the warm-up
        if not torch.allclose(variant(*inputs), want, atol=1e-4):
            raise SystemExit(f"{name} computes something else")
    for _ in range(repeats):
        for name, variant in VARIANTS.items():
            start = time.perf_counter()
            variant(*inputs)
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def library(qk: Tensor, mk: Tensor, mv: Tensor, qb: Tensor, mb: Tensor) -> Tensor:
    """What the library does."""
    return regional_read(qk, mk, mv, qb, mb, semantics=SEMANTICS, scale=qk.shape[-1] ** -0.5)


def dense(qk: Tensor, mk: Tensor, mv: Tensor, qb: Tensor, mb: Tensor) -> Tensor:
    """Every cell against every cell, what is outside masked away."""
    h, w, ck = mk.shape[2:]
    inside = cells_in_boxes(mb, h, w).flatten(1)
    scores = qk.flatten(1, 2) @ mk.flatten(1, 3).transpose(1, 2) * ck**-0.5
    scores = scores.masked_fill(~inside[:, None], -torch.inf)
    read = (scores.softmax(dim=2) @ mv.flatten(1, 3)).unflatten(1, (h, w))
    return read * cells_in_boxes(qb, h, w)[..., None]


def padded(qk: Tensor, mk: Tensor, mv: Tensor, qb: Tensor, mb: Tensor) -> Tensor:
    """One batched product for all objects, regions padded to the largest."""
    n, _, h, w, ck = mk.shape
    memory, queries = cells_in_boxes(mb, h, w).flatten(1), cells_in_boxes(qb, h, w).flatten(1)
    m_index, m_real = compact(memory)
    q_index, q_real = compact(queries)
    rows = torch.arange(n)[:, None]
    keys = mk.flatten(1, 3)[rows, m_index]
    values = mv.flatten(1, 3)[rows, m_index]
    scores = qk.flatten(1, 2)[rows, q_index] @ keys.transpose(1, 2) * ck**-0.5
    weights = scores.masked_fill(~m_real[:, None], -torch.inf).softmax(dim=2)
    out = values.new_zeros((n, h * w + 1, values.shape[2]))  # padding goes to the last row
    out[rows, torch.where(q_real, q_index, h * w)] = weights @ values
    return out[:, :-1].unflatten(1, (h, w))


def compact(inside: Tensor) -> tuple[Tensor, Tensor]:
    """Indices (n, most) of the true cells of (n, cells), and which of them are real."""
    most = int(inside.sum(dim=1).max())
    index = inside.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :most]
    return index, inside.gather(1, index)


VARIANTS: dict[str, Callable[..., Tensor]] = {"library": library, "dense": dense, "padded": padded}


if __name__ == "__main__":
    main()
