"""Compare the native CPU op with the PyTorch path on random shapes, boxes and strides.

    python tests/fuzz_regional_read.py OP.so [CASES] [SEED]

Not a test itself: test_sanitizers.py runs it on an op built with AddressSanitizer. The tensors are
exactly as large as they need to be, so every out-of-bounds read is an error.
"""

import importlib.util
import sys
from pathlib import Path

import torch

import rmnet

INSTRUCTION_SETS = ("best", "avx512", "avx2", "portable")
TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}


def main(library: str, cases: int = 200, seed: int = 0) -> None:
    torch.ops.load_library(library)
    generator = torch.Generator().manual_seed(seed)
    ran = dict.fromkeys(INSTRUCTION_SETS, 0)
    for case in range(cases):
        torch.set_num_threads(case % 3 + 1)
        arguments = random_arguments(generator)
        for instruction_set in INSTRUCTION_SETS:
            try:
                got = torch.ops.rmnet.regional_read(*arguments, instruction_set)
            except RuntimeError as error:
                if "this processor does not support" not in str(error):
                    raise
                continue
            ran[instruction_set] += 1
            compare(got, arguments, f"case {case}, {instruction_set}")
    for boxes in ((-1, 0, 2, 1), (0, 0, 99, 1), (2, 0, 1, 1), (0, -7, 1, 1), (0, 0, 1, 2**31 - 1)):
        reject(boxes)
    print(f"{cases} cases: {ran}")  # noqa: T201 a script


def load_pytorch_path():
    """Load rmnet/ops/read_pytorch.py on its own: its package would load the installed op."""
    path = Path(rmnet.__file__).parent / "ops" / "read_pytorch.py"
    spec = importlib.util.spec_from_file_location("pytorch_path", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.regional_read_pytorch


regional_read_pytorch = load_pytorch_path()


def integer(generator: torch.Generator, low: int, high: int) -> int:
    return int(torch.randint(low, high + 1, (), generator=generator))


def random_arguments(generator):
    n, frames = integer(generator, 1, 5), integer(generator, 0, 6)
    h, w = integer(generator, 1, 10), integer(generator, 1, 12)
    ck, cv = integer(generator, 1, 40), integer(generator, 1, 70)
    if integer(generator, 0, 3) == 0:
        ck, cv = 64, 192
    dtype = list(TOLERANCE)[integer(generator, 0, 2)]
    query_key = torch.randn((n, h, w, ck), generator=generator).to(dtype)
    memory_key = torch.randn((n, frames, h, w, ck), generator=generator).to(dtype)
    memory_value = torch.randn((n, frames, h, w, cv), generator=generator).to(dtype)
    layout = integer(generator, 0, 2)
    if layout == 1:  # one query key for all objects, memory in larger storage
        query_key = query_key[:1].expand(n, -1, -1, -1)
        memory_key, memory_value = (roomy(x) for x in (memory_key, memory_value))
    elif layout == 2:  # channels first
        memory_key = memory_key.permute(0, 1, 4, 2, 3).contiguous().permute(0, 1, 3, 4, 2)
    present = torch.rand((n, frames), generator=generator) < 0.8
    return (
        query_key, memory_key, memory_value,
        random_boxes((n,), h, w, generator), random_boxes((n, frames), h, w, generator),
        present if integer(generator, 0, 1) else None,
        bool(integer(generator, 0, 1)), ck**-0.5,
    )  # fmt: skip


def roomy(memory: torch.Tensor) -> torch.Tensor:
    """Return a copy whose storage has room for three more frames."""
    n, frames, *rest = memory.shape
    storage = memory.new_full((n, frames + 3, *rest), torch.nan)
    storage[:, :frames] = memory
    return storage[:, :frames]


def random_boxes(shape, h, w, generator):
    x = torch.randint(0, w + 1, (*shape, 2), generator=generator).sort(-1).values
    y = torch.randint(0, h + 1, (*shape, 2), generator=generator).sort(-1).values
    boxes = torch.stack((x[..., 0], y[..., 0], x[..., 1], y[..., 1]), -1).int()
    # Boxes often cover the whole grid and so end where the storage ends.
    whole = torch.rand(shape, generator=generator) < 0.3
    return torch.where(whole[..., None], torch.tensor((0, 0, w, h)), boxes).int()


def compare(got, arguments, name):
    *tensors, present, zeroed, scale = arguments
    semantics = "zeroed" if zeroed else "excluded"
    want = regional_read_pytorch(*tensors, present=present, semantics=semantics, scale=scale)
    tolerance = TOLERANCE[got.dtype]
    if not torch.allclose(got.float(), want.float(), atol=tolerance, rtol=tolerance):
        worst = float((got.float() - want.float()).abs().max())
        raise SystemExit(f"{name}: off by {worst}")


def reject(box):
    """Check that the op refuses the box, as a query box and as a memory box."""
    key, value = torch.zeros((1, 1, 3, 4, 8)), torch.zeros((1, 1, 3, 4, 16))
    good, bad = torch.tensor([[0, 0, 4, 3]]).int(), torch.tensor([box]).int()
    for query_boxes, memory_boxes in ((bad, good[None]), (good, bad[None])):
        try:
            torch.ops.rmnet.regional_read(
                key[:, 0], key, value, query_boxes, memory_boxes, None, False, 1.0
            )
        except RuntimeError as error:
            if "accepted" not in str(error):
                raise
        else:
            raise SystemExit(f"{box} was accepted")


if __name__ == "__main__":
    main(sys.argv[1], *(int(argument) for argument in sys.argv[2:]))
