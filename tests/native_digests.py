"""Print the SHA-256 of the native ops' results for fixed inputs, one line per case.

On one machine, one binary prints the same lines with every version of torch; .ci/run compares two.
Needs torch, NumPy and rmnet, but not rmnet's other dependencies. The binary and torch's version go
to stderr. Exits with 1 if the native op is missing.
"""

from __future__ import annotations

import hashlib
import itertools
import sys

import numpy as np
import torch

from rmnet.ops import BINARIES, conv3x3, inverted_residual, pack, problem, regional_read_native

OBJECTS, FRAMES, HEIGHT, WIDTH = 3, 4, 12, 17
THREADS = 2  # the order of summation depends on it
WIDTHS = {"released": (128, 512), "small": (64, 192), "odd": (7, 10)}
CONVOLUTIONS = {"wide": (256, 128), "odd": (37, 45)}
BLOCKS = {"wide": (80, 480, 112, 3, 2), "odd": (37, 70, 37, 5, 1)}  # widths, kernel, stride
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def random_boxes(generator, *shape):
    """Return boxes (*shape, 4) int32 inside the grid, some of them empty."""
    x = np.sort(generator.integers(0, WIDTH + 1, (*shape, 2)))
    y = np.sort(generator.integers(0, HEIGHT + 1, (*shape, 2)))
    boxes = np.stack([x[..., 0], y[..., 0], x[..., 1], y[..., 1]], axis=-1)
    return torch.from_numpy(boxes.astype(np.int32))


def random_arguments(generator, key_width, value_width, dtype):
    """Return arguments of a read, drawn with NumPy, whose generators are stable across versions."""

    def numbers(*shape):
        return torch.from_numpy(generator.standard_normal(shape, dtype=np.float32)).to(dtype)

    return {
        "query_key": numbers(1, HEIGHT, WIDTH, key_width).expand(OBJECTS, -1, -1, -1),
        "memory_key": numbers(OBJECTS, FRAMES, HEIGHT, WIDTH, key_width),
        "memory_value": numbers(OBJECTS, FRAMES, HEIGHT, WIDTH, value_width),
        "query_boxes": random_boxes(generator, OBJECTS),
        "memory_boxes": random_boxes(generator, OBJECTS, FRAMES),
        "present": torch.from_numpy(generator.random((OBJECTS, FRAMES)) < 0.8),
    }


def digest(tensor):
    """Return the SHA-256 of the tensor's bytes, for any dtype."""
    return hashlib.sha256(tensor.contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()


def convolve(generator, channels, out_channels, instruction_set):
    def numbers(*shape):
        return torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))

    return conv3x3(
        numbers(OBJECTS, channels, HEIGHT, WIDTH),
        numbers(out_channels, channels, 3, 3),
        scale=numbers(out_channels),
        bias=numbers(out_channels),
        residual=numbers(OBJECTS, out_channels, HEIGHT, WIDTH),
        relu_input=True,
        relu_output=True,
        instruction_set=instruction_set,
    )


def compute_block(generator, channels, expanded, out_channels, kernel, stride, instruction_set):
    def numbers(*shape):
        return torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))

    block = pack(
        (numbers(expanded, channels, 1, 1), numbers(expanded)),
        (numbers(expanded, 1, kernel, kernel), numbers(expanded)),
        (numbers(out_channels, expanded, 1, 1), numbers(out_channels)),
        stride=stride,
        residual=channels == out_channels,
    )
    x = numbers(OBJECTS, channels, HEIGHT, WIDTH)
    return inverted_residual(x, block, instruction_set=instruction_set)


def main():
    not_loaded = problem("cpu")
    if not_loaded is not None:
        sys.exit(not_loaded)
    sys.stderr.write(f"torch {torch.__version__}, {BINARIES[0].path}\n")
    torch.set_num_threads(THREADS)
    for widths, dtype, semantics, instruction_set in itertools.product(
        WIDTHS, DTYPES, ("zeroed", "excluded"), ("best", "portable")
    ):
        key_width, value_width = WIDTHS[widths]
        arguments = random_arguments(
            np.random.default_rng(0), key_width, value_width, DTYPES[dtype]
        )
        readout = regional_read_native(
            **arguments,
            semantics=semantics,
            scale=key_width**-0.5,
            instruction_set=instruction_set,
        )
        if not readout.isfinite().all():
            sys.exit(f"{widths} {dtype} {semantics} {instruction_set}: not finite")
        case = f"{widths:<9}{dtype:<10}{semantics:<10}{instruction_set:<9}"
        sys.stdout.write(f"{case}{digest(readout)}\n")
    for widths, instruction_set in itertools.product(CONVOLUTIONS, ("best", "portable")):
        convolved = convolve(np.random.default_rng(0), *CONVOLUTIONS[widths], instruction_set)
        sys.stdout.write(f"conv3x3 {widths:<5}{instruction_set:<9}{digest(convolved)}\n")
    for name, instruction_set in itertools.product(BLOCKS, ("best", "portable")):
        computed = compute_block(np.random.default_rng(0), *BLOCKS[name], instruction_set)
        sys.stdout.write(f"block   {name:<5}{instruction_set:<9}{digest(computed)}\n")


if __name__ == "__main__":
    main()
