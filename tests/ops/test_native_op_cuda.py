"""The native operator on a GPU; that it computes the right thing is in test_regional_read.py."""

import sys

import pytest
import torch

from rmnet.ops import (
    extension,
    regional_read,
    regional_read_native,
    regional_read_pytorch,
)

CUDA_WIDTHS = sys.modules["rmnet.ops.regional_read"].CUDA_WIDTHS
pytestmark = pytest.mark.cuda

TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}


def random_arguments(*, n=3, frames=5, h=30, w=54, ck=128, cv=512, dtype=torch.float16):
    g = torch.Generator().manual_seed(0)
    x = torch.randint(0, w + 1, (n, frames + 1, 2), generator=g).sort(-1).values
    y = torch.randint(0, h + 1, (n, frames + 1, 2), generator=g).sort(-1).values
    boxes = torch.stack((x[..., 0], y[..., 0], x[..., 1], y[..., 1]), -1).int()
    return {
        "query_key": torch.randn((n, h, w, ck), generator=g).to("cuda", dtype),
        "memory_key": torch.randn((n, frames, h, w, ck), generator=g).to("cuda", dtype),
        "memory_value": torch.randn((n, frames, h, w, cv), generator=g).to("cuda", dtype),
        "query_boxes": boxes[:, 0].contiguous().cuda(),
        "memory_boxes": boxes[:, 1:].contiguous().cuda(),
    }


def compare(got, arguments, semantics):
    arguments = {name: x.cpu() for name, x in arguments.items()}
    dtype = got.dtype
    wide = {name: x.float() if x.is_floating_point() else x for name, x in arguments.items()}
    scale = arguments["query_key"].shape[-1] ** -0.5
    want = regional_read_pytorch(**wide, present=None, semantics=semantics, scale=scale)
    assert torch.allclose(got.cpu().float(), want, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


def test_the_binary_is_there():
    assert extension.problem("cuda") is None


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("semantics", ["zeroed", "excluded"])
@pytest.mark.parametrize(("ck", "cv"), CUDA_WIDTHS)
def test_full_size_reads_match_the_cpu(dtype, semantics, ck, cv):
    arguments = random_arguments(dtype=dtype, ck=ck, cv=cv)
    got = regional_read_native(**arguments, present=None, semantics=semantics, scale=ck**-0.5)
    compare(got, arguments, semantics)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_a_whole_frame_against_a_long_memory_matches_the_cpu(dtype):
    arguments = random_arguments(n=1, frames=40, dtype=dtype)
    for name in ("query_boxes", "memory_boxes"):
        arguments[name][...] = torch.tensor((0, 0, 54, 30), dtype=torch.int32)
    got = regional_read_native(**arguments, present=None, semantics="zeroed", scale=128**-0.5)
    compare(got, arguments, "zeroed")


def test_nothing_waits_for_the_device():
    arguments = random_arguments()
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        regional_read(**arguments, semantics="zeroed", scale=0.1)
    finally:
        torch.cuda.set_sync_debug_mode(before)


def test_a_captured_read_follows_new_boxes_and_keys():
    arguments = random_arguments()

    def read():
        return regional_read(**arguments, semantics="zeroed", scale=128**-0.5)

    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        read()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = read()
    other = random_arguments()
    for name, tensor in arguments.items():
        tensor.copy_(other[name].flip(0))
    graph.replay()
    compare(captured, arguments, "zeroed")


def test_boxes_beyond_the_grid_are_clipped_to_it():
    arguments = random_arguments(n=1)
    arguments["query_boxes"][...] = torch.tensor((-5, -5, 99, 99), dtype=torch.int32)
    arguments["memory_boxes"][:, 0] = torch.tensor((10, -3, 200, 7), dtype=torch.int32)
    got = regional_read(**arguments, semantics="excluded", scale=128**-0.5)
    arguments["query_boxes"][...] = torch.tensor((0, 0, 54, 30), dtype=torch.int32)
    arguments["memory_boxes"][:, 0] = torch.tensor((10, 0, 54, 7), dtype=torch.int32)
    compare(got, arguments, "excluded")


def test_torch_finds_nothing_wrong_with_the_operator():
    arguments = tuple(random_arguments(n=1, frames=2).values())
    torch.library.opcheck(torch.ops.rmnet.regional_read.default, (*arguments, None, True, 0.3))


def test_it_runs_on_the_current_stream():
    arguments = random_arguments(dtype=torch.float32)
    want = regional_read(**arguments, semantics="zeroed", scale=0.1)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        arguments["memory_value"] += 1
        got = regional_read(**arguments, semantics="excluded", scale=0.1)
    torch.cuda.current_stream().wait_stream(stream)
    assert not torch.equal(got, want)
    compare(got, {**arguments, "query_key": arguments["query_key"] * (0.1 * 128**0.5)}, "excluded")
