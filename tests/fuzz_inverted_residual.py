"""Compare random inverted residual blocks of the native CPU op with PyTorch's in float64.

    python tests/fuzz_inverted_residual.py OP.so [CASES] [SEED]

Not a test itself: test_sanitizers.py runs it on an op built with AddressSanitizer. The tensors are
exactly as large as they need to be, so every out-of-bounds read is an error.
"""

import sys

import torch
from torch.nn import functional as F

from fuzz_conv3x3 import INSTRUCTION_SETS, integer, laid_out

TOLERANCE = 1e-5  # relative to the largest value


def main(library: str, cases: int = 200, seed: int = 0) -> None:
    torch.ops.load_library(library)
    generator = torch.Generator().manual_seed(seed)
    ran = dict.fromkeys(INSTRUCTION_SETS, 0)
    for case in range(cases):
        torch.set_num_threads(case % 3 + 1)
        x, weights, stride, residual = random_arguments(generator)
        want = compute(x, weights, stride, residual)
        expand, _, depthwise, *_ = weights
        kind = (*depthwise.shape[::3], stride, expand is not None, residual)
        packed = torch.ops.rmnet.pack_inverted_residual(*weights)
        scratch = torch.empty(2**20) if integer(generator, 0, 1) else None
        for instruction_set in INSTRUCTION_SETS:
            got = laid_out(torch.full(want.shape, torch.nan), integer(generator, 1, 2))
            try:
                torch.ops.rmnet.inverted_residual(got, x, packed, *kind, instruction_set, scratch)
            except RuntimeError as error:
                if "runs nothing of that name" not in str(error):
                    raise
                continue
            ran[instruction_set] += 1
            if not got.numel():
                continue
            worst = float((got - want).abs().max() / want.abs().max())
            if not worst <= TOLERANCE:
                raise SystemExit(f"case {case}, {instruction_set}: off by {worst}")
    print(f"{cases} cases: {ran}")  # noqa: T201 a script


def random_arguments(generator):
    def part(*shape):
        weight = torch.randn(shape, generator=generator)
        scale = (2 / weight[0].numel()) ** 0.5
        return weight * scale, torch.randn(shape[0], generator=generator)

    batch, channels = integer(generator, 0, 2), integer(generator, 1, 40)
    expanded, out_channels = integer(generator, 1, 100), integer(generator, 1, 70)
    kernel, stride = (3, 5)[integer(generator, 0, 1)], integer(generator, 1, 2)
    h, w = integer(generator, 1, 13), integer(generator, 1, 30)
    expands, residual = integer(generator, 0, 3) > 0, integer(generator, 0, 1) > 0
    if integer(generator, 0, 15) == 0:  # more panels than fit into a ring at a time
        expanded, w, h = integer(generator, 200, 350), integer(generator, 90, 130), 4
    if not expands:
        expanded = channels
    if residual:
        out_channels, stride = channels, 1
    weights = (
        *(part(expanded, channels, 1, 1) if expands else (None, None)),
        *part(expanded, 1, kernel, kernel),
        *part(out_channels, expanded, 1, 1),
    )
    images = torch.randn((batch, channels, h, w), generator=generator)
    return laid_out(images, integer(generator, 0, 3)), weights, stride, residual


def compute(x, weights, stride, residual):
    expand, expand_bias, depthwise, depthwise_bias, project, project_bias = (
        None if tensor is None else tensor.double() for tensor in weights
    )
    y = x.double()
    if expand is not None:
        y = F.relu6(F.conv2d(y, expand, expand_bias))
    padding = depthwise.shape[-1] // 2
    y = F.conv2d(y, depthwise, depthwise_bias, stride, padding, groups=len(depthwise))
    y = F.conv2d(F.relu6(y), project, project_bias)
    return y + x if residual else y


if __name__ == "__main__":
    main(sys.argv[1], *(int(argument) for argument in sys.argv[2:]))
