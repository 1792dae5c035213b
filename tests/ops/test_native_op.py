"""The native operator as a citizen of PyTorch, and when it serves."""

import os
import subprocess
import sys

import pytest
import torch

from readers import INSTRUCTION_SETS, needs_native_op
from rmnet.config import RMNetConfig
from rmnet.errors import ConfigError
from rmnet.ops import (
    backend,
    regional_read,
    regional_read_native,
    regional_read_pytorch,
)

regional_read_module = sys.modules["rmnet.ops.regional_read"]  # the package gives the function
native_read_obstacle = regional_read_module.native_read_obstacle
CPU = torch.device("cpu")


def random_arguments(*, n=2, frames=3, h=4, w=5, ck=8, cv=16, dtype=torch.float32):
    g = torch.Generator().manual_seed(0)
    whole, border = (0, 0, w, h), (w - 2, h - 2, w, h)
    return {
        "query_key": torch.randn((1, h, w, ck), generator=g).to(dtype).expand(n, -1, -1, -1),
        "memory_key": torch.randn((n, frames + 2, h, w, ck), generator=g).to(dtype)[:, :frames],
        "memory_value": torch.randn((n, frames, h, w, cv), generator=g).to(dtype),
        "query_boxes": torch.tensor([border] * n, dtype=torch.int32),
        "memory_boxes": torch.tensor([[whole, border, (0, 0, 0, 0)]] * n, dtype=torch.int32),
    }


@needs_native_op
@pytest.mark.parametrize("dtype", regional_read_module.DTYPES)
@pytest.mark.parametrize("zeroed", [True, False])
@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
def test_torch_finds_nothing_wrong_with_the_operator(dtype, zeroed, instruction_set):
    arguments = tuple(random_arguments(dtype=dtype).values())
    present = torch.tensor([[True, False, True]] * 2)
    for shown in (None, present):
        torch.library.opcheck(
            torch.ops.rmnet.regional_read.default,
            (*arguments, shown, zeroed, 0.3, instruction_set),
        )


@needs_native_op
def test_it_compiles_in_one_graph():
    def read(arguments):
        return regional_read(**arguments, semantics="zeroed", scale=0.3) * 2

    arguments = random_arguments()
    compiled = torch.compile(read, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(arguments), read(arguments))


@needs_native_op
def test_the_native_op_serves_where_no_gradient_is_wanted(monkeypatch):
    served = []
    original = regional_read_native
    monkeypatch.setattr(
        regional_read_module,
        "regional_read_native",
        lambda *a, **k: served.append("native") or original(*a, **k),
    )
    monkeypatch.setattr(backend, "BACKEND", "native")
    arguments = random_arguments()
    regional_read(**arguments, semantics="zeroed", scale=0.3)
    assert served == ["native"]
    arguments["memory_value"].requires_grad_()
    with torch.no_grad():
        regional_read(**arguments, semantics="zeroed", scale=0.3)
    assert served == ["native"] * 2
    out = regional_read(**arguments, semantics="zeroed", scale=0.3)
    assert out.requires_grad
    assert served == ["native"] * 2


@needs_native_op
def test_either_backend_can_be_forced(monkeypatch):
    arguments = random_arguments()
    results = {}
    for name, function in (
        ("native", regional_read_native),
        ("pytorch", regional_read_pytorch),
    ):
        monkeypatch.setattr(backend, "BACKEND", name)
        got = regional_read(**arguments, semantics="zeroed", scale=0.3)
        want = function(**arguments, present=None, semantics="zeroed", scale=0.3)
        assert torch.equal(got, want)
        results[name] = got
    assert torch.allclose(*results.values(), atol=1e-6)


@needs_native_op
def test_float64_keys_are_served_by_pytorch():
    reason = native_read_obstacle(CPU, torch.float64, 8, 16)
    assert reason is not None
    assert "torch.float64; served: torch.float32" in reason
    arguments = random_arguments(dtype=torch.float64)
    assert regional_read(**arguments, semantics="zeroed", scale=0.3).dtype == torch.float64


def test_without_vector_instructions_pytorch_is_preferred_but_the_op_can_be_forced(monkeypatch):
    monkeypatch.setattr(backend, "problem", lambda _: None)
    monkeypatch.setattr(backend, "instruction_set", lambda: "portable")
    for name, reason in (
        ("auto", "faster on a processor without AVX2"),
        ("native", None),
        ("pytorch", "RMNET_BACKEND is 'pytorch'"),
    ):
        monkeypatch.setattr(backend, "BACKEND", name)
        assert regional_read_module.regional_read_obstacle(CPU, torch.float32, 8, 16) == reason


def test_a_missing_binary_is_named_when_the_native_op_is_forced(monkeypatch):
    monkeypatch.setattr(backend, "problem", lambda _: "rmnet._C was not built")
    monkeypatch.setattr(backend, "BACKEND", "native")
    with pytest.raises(ConfigError, match=r"'native', but rmnet._C was not built; unset it"):
        regional_read(**random_arguments(), semantics="zeroed", scale=0.3)
    monkeypatch.setattr(backend, "BACKEND", "auto")
    regional_read(**random_arguments(), semantics="zeroed", scale=0.3)


def test_what_cuda_does_not_serve_is_said(monkeypatch):
    monkeypatch.setattr(backend, "problem", lambda _: None)
    cuda = torch.device("cuda", 0)
    assert "100/512; served by CUDA: 128/512, 64/192" in native_read_obstacle(
        cuda, torch.float16, 100, 512
    )
    assert "no native read for mps" in native_read_obstacle(
        torch.device("mps"), torch.float16, 8, 8
    )


@pytest.mark.parametrize(
    ("built_for", "capability", "runs"),
    [
        (["8.0", "9.0+PTX"], (9, 0), True),
        (["8.0", "9.0+PTX"], (8, 6), True),
        (["8.0", "9.0+PTX"], (12, 0), True),
        (["8.0", "9.0+PTX"], (7, 5), False),
        (["8.0"], (9, 0), False),
        (["8.6"], (8, 0), False),
        (["9.0a"], (9, 0), True),
        ([], (9, 0), False),
    ],
)
def test_a_device_is_served_if_the_binary_has_code_for_it(monkeypatch, built_for, capability, runs):
    monkeypatch.setattr(backend, "problem", lambda _: None)
    monkeypatch.setattr(regional_read_module, "architectures", lambda: built_for)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    reason = native_read_obstacle(torch.device("cuda", 0), torch.float16, 128, 512)
    assert (reason is None) is runs
    assert runs or f"capability {capability}; the binary is for" in reason


def test_cuda_serves_the_widths_of_both_published_and_packaged_network():
    published = RMNetConfig()
    assert (published.key_width, published.value_width) in regional_read_module.CUDA_WIDTHS
    assert (64, 192) in regional_read_module.CUDA_WIDTHS


@pytest.mark.parametrize("name", ["native", "pytorch", "auto"])
def test_the_environment_chooses_the_backend(name):
    if name == "native" and not INSTRUCTION_SETS:
        pytest.skip("the native op is not there")
    assert _backend_in_a_new_process(name).stdout.strip() == name


def test_an_unknown_backend_is_an_error_that_lists_them():
    process = _backend_in_a_new_process("cuda")
    assert process.returncode != 0
    assert "RMNET_BACKEND is 'cuda'; accepted: auto, native, pytorch" in process.stderr


def _backend_in_a_new_process(name):
    code = "from rmnet.ops import backend; print(backend.BACKEND)"
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "RMNET_BACKEND": name},
        capture_output=True,
        text=True,
        check=False,
    )
