"""Compare random 3x3 convolutions of the native CPU op with PyTorch's in float64.

    python tests/fuzz_conv3x3.py OP.so [CASES] [SEED]

Not a test itself: test_sanitizers.py runs it on an op built with AddressSanitizer. The tensors are
exactly as large as they need to be, so every out-of-bounds read is an error.
"""

import sys

import torch
from torch.nn import functional as F

INSTRUCTION_SETS = ("best", "avx512", "avx2", "portable")
TOLERANCE = 4e-5  # for values with a standard deviation of about 1


def main(library: str, cases: int = 200, seed: int = 0) -> None:
    torch.ops.load_library(library)
    generator = torch.Generator().manual_seed(seed)
    ran = dict.fromkeys(INSTRUCTION_SETS, 0)
    for case in range(cases):
        torch.set_num_threads(case % 3 + 1)
        x, weight, *around = random_arguments(generator)
        want = convolve(x, weight, *around)
        scratch = torch.empty(2**22) if integer(generator, 0, 1) else None
        for instruction_set in INSTRUCTION_SETS:
            try:
                got = torch.full(want.shape, torch.nan).contiguous(
                    memory_format=torch.channels_last
                )
                torch.ops.rmnet.conv3x3(got, x, weight, *around, instruction_set, scratch)
            except RuntimeError as error:
                if "runs nothing of that name" not in str(error):
                    raise
                continue
            ran[instruction_set] += 1
            worst = float((got - want).abs().max()) if got.numel() else 0.0
            if not worst <= TOLERANCE:
                raise SystemExit(f"case {case}, {instruction_set}: off by {worst}")
    print(f"{cases} cases: {ran}")  # noqa: T201 a script


def integer(generator: torch.Generator, low: int, high: int) -> int:
    return int(torch.randint(low, high + 1, (), generator=generator))


def random_arguments(generator):
    batch, channels = integer(generator, 0, 3), integer(generator, 1, 40)
    out_channels = integer(generator, 1, 70)
    h, w = integer(generator, 1, 13), integer(generator, 1, 13)
    if integer(generator, 0, 7) == 0:
        channels = integer(generator, 120, 270)
    weight = torch.randn((out_channels, channels, 3, 3), generator=generator)
    layout = integer(generator, 0, 3)
    x, residual = (
        laid_out(torch.randn((batch, width, h, w), generator=generator), layout)
        for width in (channels, out_channels)
    )
    bias = torch.randn(out_channels, generator=generator)
    if integer(generator, 0, 1):
        weight = weight.contiguous(memory_format=torch.channels_last)
    return (
        x, weight / (9 * channels) ** 0.5,
        torch.rand(out_channels, generator=generator) if integer(generator, 0, 1) else None,
        bias if integer(generator, 0, 1) else None,
        residual if integer(generator, 0, 1) else None,
        bool(integer(generator, 0, 1)), bool(integer(generator, 0, 1)),
    )  # fmt: skip


def laid_out(images, layout):
    """Return the images as they are, or channels-last (likeliest), or as a channels-last crop."""
    if layout == 0:
        return images
    if layout != 1:
        return images.contiguous(memory_format=torch.channels_last)
    b, c, h, w = images.shape
    larger = images.new_full((b, h + 2, w + 1, c), torch.nan).permute(0, 3, 1, 2)
    larger[:, :, 2:, 1:] = images  # the crop ends where the storage ends
    return larger[:, :, 2:, 1:]


def convolve(x, weight, scale, bias, residual, relu_input, relu_output):
    x = x.double().relu() if relu_input else x.double()
    y = F.conv2d(x, weight.double(), padding=1)
    y = y if scale is None else y * scale[:, None, None]
    y = y if bias is None else y + bias[:, None, None]
    y = y if residual is None else y + residual
    return y.relu() if relu_output else y


if __name__ == "__main__":
    main(sys.argv[1], *(int(argument) for argument in sys.argv[2:]))
