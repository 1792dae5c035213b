"""The native inverted residual block against PyTorch's convolutions in float64."""

import dataclasses
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from readers import INSTRUCTION_SETS, needs_native_op
from rmnet.ops import backend
from rmnet.ops.inverted_residual import inverted_residual, inverted_residual_obstacle, pack

CPU = torch.device("cpu")
TOLERANCE = 1e-5  # of the largest value
every_instruction_set = pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
KINDS = [  # kernel, stride, expands, residual
    kind
    for kind in itertools.product((3, 5), (1, 2), (True, False), (True, False))
    if kind[1] == 1 or not kind[3]
]


def last(images):
    return images.contiguous(memory_format=torch.channels_last)


def random_case(
    *, batch=1, channels=16, expanded=96, out_channels=24, kernel=3, stride=1, height=13, width=17,
    expands=True, residual=False, seed=0,
):  # fmt: skip
    """x, channels-last, and what `pack` takes; rectifiers cut about half of the numbers."""
    g = torch.Generator().manual_seed(seed)
    expanded = expanded if expands else channels
    out_channels = channels if residual else out_channels
    stride = 1 if residual else stride

    def part(*shape):
        weight = torch.randn(shape, generator=g)
        return weight * (2 / weight[0].numel()) ** 0.5, torch.randn(shape[0], generator=g)

    x = last(torch.randn((batch, channels, height, width), generator=g))
    weights = {
        "expand": part(expanded, channels, 1, 1) if expands else None,
        "depthwise": part(expanded, 1, kernel, kernel),
        "project": part(out_channels, expanded, 1, 1),
    }
    return x, weights, {"stride": stride, "residual": residual}


def reference(x, weights, *, stride, residual):
    """In float64, by the definition."""
    y = x.double()
    if weights["expand"] is not None:
        y = F.relu6(F.conv2d(y, *(t.double() for t in weights["expand"])))
    weight, bias = (t.double() for t in weights["depthwise"])
    y = F.relu6(F.conv2d(y, weight, bias, stride, weight.shape[-1] // 2, groups=len(weight)))
    y = F.conv2d(y, *(t.double() for t in weights["project"]))
    return y + x if residual else y


def assert_close(got, want):
    assert got.shape == want.shape
    assert (got - want).abs().max() <= TOLERANCE * want.abs().max()


# --- The numbers -------------------------------------------------------------------------------


@needs_native_op
@every_instruction_set
@pytest.mark.parametrize(("kernel", "stride", "expands", "residual"), KINDS)
def test_every_kind_of_block_equals_the_definition(
    instruction_set, kernel, stride, expands, residual
):
    for height, width in ((1, 1), (2, 3), (14, 27), (41, 60), (3, 230)):
        x, weights, kind = random_case(
            kernel=kernel, stride=stride, expands=expands, residual=residual, height=height,
            width=width,
        )  # fmt: skip
        got = inverted_residual(x, pack(**weights, **kind), instruction_set=instruction_set)
        assert_close(got, reference(x, weights, **kind))


@needs_native_op
@every_instruction_set
@settings(max_examples=40, deadline=None)
@given(
    sizes=st.fixed_dictionaries(
        {
            "batch": st.integers(1, 3),
            "channels": st.integers(1, 40),
            "expanded": st.integers(1, 70),
            "out_channels": st.integers(1, 70),
            "kernel": st.sampled_from((3, 5)),
            "stride": st.sampled_from((1, 2)),
            "height": st.integers(1, 20),
            "width": st.integers(1, 30),
            "expands": st.booleans(),
            "residual": st.booleans(),
            "seed": st.integers(0, 99),
        }
    )
)
def test_any_size_equals_the_definition(instruction_set, sizes):
    x, weights, kind = random_case(**sizes)
    got = inverted_residual(x, pack(**weights, **kind), instruction_set=instruction_set)
    assert_close(got, reference(x, weights, **kind))


@needs_native_op
@every_instruction_set
@pytest.mark.parametrize(
    ("channels", "expanded", "out_channels"),
    [(c, e, k) for c, e in ((8, 48), (7, 33)) for k in (8, 16, 20, 24, 31, 32, 40, 48, 56, 80, 87)]
    + [(112, 672, 112), (113, 1345, 9)],
)
def test_every_number_of_output_channels(instruction_set, channels, expanded, out_channels):
    """Each way to divide them into groups, also where the ring holds not all of the panels."""
    x, weights, kind = random_case(
        channels=channels, expanded=expanded, out_channels=out_channels, kernel=5, width=54
    )
    got = inverted_residual(x, pack(**weights, **kind), instruction_set=instruction_set)
    assert_close(got, reference(x, weights, **kind))


@needs_native_op
@every_instruction_set
@pytest.mark.parametrize(("kernel", "stride", "expands", "residual"), KINDS)
def test_the_number_of_threads_changes_nothing(instruction_set, kernel, stride, expands, residual):
    for batch, width in ((1, 15), (1, 54), (2, 131), (3, 70)):
        x, weights, kind = random_case(
            batch=batch, width=width, height=21, channels=37, kernel=kernel, stride=stride,
            expands=expands, residual=residual,
        )  # fmt: skip
        block = pack(**weights, **kind)
        threads = torch.get_num_threads()
        results = []
        try:
            for count in (1, 2, 3, 7):
                torch.set_num_threads(count)
                results.append(inverted_residual(x, block, instruction_set=instruction_set))
        finally:
            torch.set_num_threads(threads)
        assert all(torch.equal(result, results[0]) for result in results)


@needs_native_op
@pytest.mark.parametrize("expands", [True, False])
def test_the_layout_of_the_arguments_changes_nothing(expands):
    x, weights, kind = random_case(batch=2, channels=24, expands=expands, residual=True)
    want = inverted_residual(x, pack(**weights, **kind))
    assert want.is_contiguous(memory_format=torch.channels_last)

    def crop(images):
        """In the middle of a larger image of NaN, every second of a batch."""
        b, c, h, w = images.shape
        larger = last(images.new_full((2 * b, c + 3, h + 4, w + 5), torch.nan))
        return larger[::2, 1 : c + 1, 2 : h + 2, 3 : w + 3].copy_(images)

    assert not crop(x).is_contiguous(memory_format=torch.channels_last)
    for layout in (crop, torch.Tensor.contiguous, lambda t: t.mT.contiguous().mT):
        given_x = layout(x)
        assert torch.equal(inverted_residual(given_x, pack(**weights, **kind)), want)
        assert torch.equal(given_x, x)
    strided = {
        name: part and tuple(t.repeat_interleave(2, 0)[::2] for t in part)
        for name, part in weights.items()
    }
    assert torch.equal(inverted_residual(x, pack(**strided, **kind)), want)


@needs_native_op
@every_instruction_set
@pytest.mark.parametrize("out_channels", [24, 21])
def test_the_result_is_written_where_it_is_wanted_and_nowhere_else(instruction_set, out_channels):
    x, weights, kind = random_case(batch=2, out_channels=out_channels)
    block = pack(**weights, **kind)
    want = inverted_residual(x, block, instruction_set=instruction_set)
    larger = last(torch.full((2, out_channels + 5, 16, 19), 7.0))
    out = larger[:, 2 : out_channels + 2, 1:14, 2:]
    assert inverted_residual(x, block, out=out, instruction_set=instruction_set) is out
    assert torch.equal(out, want)
    out.fill_(7)
    assert (larger == 7).all()


@needs_native_op
@every_instruction_set
@pytest.mark.parametrize("threads", [1, 3])
def test_scratch_changes_nothing_and_is_not_overrun(instruction_set, threads):
    x, weights, kind = random_case(channels=40, expanded=240, kernel=5, height=30, width=54)
    block = pack(**weights, **kind)
    want = inverted_residual(x, block, instruction_set=instruction_set)
    large = threads * 350_000 // 4  # what is documented
    number = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for size in (0, 1000, large):
            room = torch.full((size + 64,), torch.nan)
            got = inverted_residual(
                x, block, scratch=room[:size], instruction_set=instruction_set
            )  # fmt: skip
            assert torch.equal(got, want)
            assert room[size:].isnan().all()
            assert (not room[:size].isnan().all()) == (size == large)
    finally:
        torch.set_num_threads(number)


@needs_native_op
@pytest.mark.parametrize("shape", [(0, 16, 5, 6), (2, 16, 0, 6), (2, 16, 5, 0)])
@pytest.mark.parametrize("stride", [1, 2])
def test_of_nothing_comes_nothing(shape, stride):
    _, weights, kind = random_case(stride=stride)
    got = inverted_residual(torch.zeros(shape), pack(**weights, **kind))
    assert got.shape == (shape[0], 24, -(-shape[2] // stride), -(-shape[3] // stride))


@needs_native_op
@every_instruction_set
@pytest.mark.parametrize(("kernel", "stride", "expands", "residual"), KINDS)
@pytest.mark.parametrize("number", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_goes_where_the_definition_lets_it(
    instruction_set, kernel, stride, expands, residual, number
):
    """NaN stays NaN, infinity is cut to 6; and numbers that fill up a panel spoil nothing."""
    x, weights, kind = random_case(
        channels=19, expanded=29, out_channels=21, kernel=kernel, stride=stride, expands=expands,
        residual=residual,
    )  # fmt: skip
    x[0, 3, 5, 6] = number
    x[0, 2, 0, 16] = number
    want = reference(x, weights, **kind)
    got = inverted_residual(x, pack(**weights, **kind), instruction_set=instruction_set)
    finite = want.isfinite()
    assert finite.any()
    assert torch.equal(got.isnan(), want.isnan())
    assert torch.equal(got.isinf(), want.isinf())
    largest = want[finite].abs().max()
    assert (got - want)[finite].abs().max() <= TOLERANCE * largest


# --- A citizen of PyTorch ----------------------------------------------------------------------


@needs_native_op
@every_instruction_set
def test_torch_finds_nothing_wrong_with_the_operator(instruction_set):
    for expands, residual in itertools.product((True, False), repeat=2):
        x, weights, kind = random_case(batch=2, expands=expands, residual=residual)
        block = pack(**weights, **kind)
        out = last(torch.empty(block.output_shape(x.shape)))
        for images in (x, x.contiguous()):
            torch.library.opcheck(
                torch.ops.rmnet.inverted_residual.default,
                (
                    out, images, block.weights, block.expanded, block.kernel, block.stride,
                    block.expands, block.residual, instruction_set,
                ),
            )  # fmt: skip


class Block(nn.Module):
    """As a network has it."""

    def __init__(self, block):
        super().__init__()
        self.block = block

    def forward(self, x):
        return inverted_residual(x, self.block) * 2


@needs_native_op
def test_it_compiles_in_one_graph():
    x, weights, kind = random_case(residual=True)
    module = Block(pack(**weights, **kind))
    with torch.no_grad():
        compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
        assert torch.equal(compiled(x), module(x))


@needs_native_op
def test_it_can_be_exported():
    x, weights, kind = random_case()
    module = Block(pack(**weights, **kind))
    with torch.no_grad():
        exported = torch.export.export(module, (x,))
        assert torch.equal(exported.module()(x), module(x))


# --- Who serves --------------------------------------------------------------------------------


def test_it_serves_float32_on_a_cpu(monkeypatch):
    monkeypatch.setattr(backend, "problem", lambda _: None)
    monkeypatch.setattr(backend, "instruction_set", lambda: "avx2")
    monkeypatch.setattr(backend, "BACKEND", "auto")
    assert inverted_residual_obstacle(CPU, torch.float32) is None
    assert "no native inverted residual block for cuda" in inverted_residual_obstacle(
        torch.device("cuda"), torch.float32
    )
    assert "torch.bfloat16; served: torch.float32" in inverted_residual_obstacle(
        CPU, torch.bfloat16
    )
    monkeypatch.setattr(backend, "instruction_set", lambda: "portable")
    assert "without AVX2" in inverted_residual_obstacle(CPU, torch.float32)
    monkeypatch.setattr(backend, "problem", lambda _: "rmnet._C was not built")
    assert inverted_residual_obstacle(CPU, torch.float32) == "rmnet._C was not built"


def test_the_backend_can_be_forced_where_there_is_an_operator(monkeypatch):
    monkeypatch.setattr(backend, "problem", lambda _: None)
    monkeypatch.setattr(backend, "instruction_set", lambda: "portable")
    monkeypatch.setattr(backend, "BACKEND", "native")
    assert inverted_residual_obstacle(CPU, torch.float32) is None
    assert inverted_residual_obstacle(torch.device("cuda"), torch.float32) is not None
    monkeypatch.setattr(backend, "BACKEND", "pytorch")
    assert inverted_residual_obstacle(CPU, torch.float32) == "RMNET_BACKEND is 'pytorch'"


# --- Errors ------------------------------------------------------------------------------------


@needs_native_op
def test_a_wanted_gradient_is_refused():
    x, weights, kind = random_case()
    block = pack(**weights, **kind)
    with pytest.raises(ValueError, match=r"x wants a gradient; .*no_grad"):
        inverted_residual(x.requires_grad_(), block)
    with torch.no_grad():
        inverted_residual(x, block)


@needs_native_op
def test_nothing_is_converted_on_the_way_to_the_operators():
    x, weights, kind = random_case()
    block = pack(**weights, **kind)
    for wrong in (x.half(), x[:, 1:], x[0]):
        with pytest.raises((RuntimeError, ValueError)):
            inverted_residual(wrong, block)
    for part, (weight, bias) in weights.items():
        for wrong in ((weight, bias[1:]), (weight.double(), bias), (weight, bias.half())):
            with pytest.raises(RuntimeError, match=part):
                pack(**{**weights, part: wrong}, **kind)


@needs_native_op
def test_packed_weights_are_kept_from_change():
    _, weights, kind = random_case()
    block = pack(**weights, **kind)
    assert not block.weights.requires_grad
    with pytest.raises(dataclasses.FrozenInstanceError):
        block.stride = 2


@needs_native_op
def test_the_operator_itself_refuses_what_would_be_read_or_written_outside():
    x, weights, kind = random_case()
    packed = pack(**weights, **kind).weights
    out = last(torch.zeros(1, 24, 13, 17))
    operator = torch.ops.rmnet.inverted_residual
    for arguments, message in (
        ((out, x[0], packed, 96, 3, 1, True, False), "x must be"),
        ((out, x.double(), packed, 96, 3, 1, True, False), "x must be"),
        ((out.double(), x, packed, 96, 3, 1, True, False), "out must be"),
        ((out[:, :, 1:], x, packed, 96, 3, 1, True, False), "out does not have the shape"),
        ((out, x, packed, 96, 3, 2, True, False), "out does not have the shape"),
        (
            (out.contiguous(), x, packed, 96, 3, 1, True, False),
            "the channels of out must be adjacent",
        ),
        ((out, x, packed, 96, 4, 1, True, False), "kernel must be"),
        ((out, x, packed, 96, 3, 3, True, False), "stride must be"),
        ((out, x, packed, 0, 3, 1, True, False), "there are no channels"),
        ((out[:, :0], x, packed, 96, 3, 1, True, False), "there are no channels"),
        ((out, x[:, :0], packed, 96, 3, 1, True, False), "there are no channels"),
        ((out, x, packed, 96, 3, 1, False, False), "x has 16 channels; expected 96"),
        ((out, x, packed, 96, 3, 1, True, True), "x cannot be added"),
        ((out, x, packed, 96, 5, 1, True, False), "packed must be"),
        ((out, x, packed, 97, 3, 1, True, False), "packed must be"),
        ((out, x, packed[1:], 96, 3, 1, True, False), "packed must be"),
        ((out, x, packed.double(), 96, 3, 1, True, False), "packed must be"),
        ((out, x, packed[:, None], 96, 3, 1, True, False), "packed must be"),
        ((out, x, packed, 96, 3, 1, True, False, "sse9"), "this processor does not support"),
        ((out, x, packed, 96, 3, 1, True, False, "best", x.double()), "scratch must be"),
    ):
        with pytest.raises(RuntimeError, match=message):
            operator(*arguments)


@needs_native_op
def test_the_packing_itself_refuses_what_would_be_read_outside():
    _, weights, _ = random_case()
    right = [t for part in weights.values() for t in part]
    operator = torch.ops.rmnet.pack_inverted_residual
    for index, wrong, message in (
        (0, None, "must be given together"),
        (1, None, "must be given together"),
        (0, right[0][1:], "expand gives 95 channels; depthwise has 96"),
        (0, right[0].double(), "expand must be"),
        (0, right[0][:, :0], "expand is empty"),
        (1, right[1][1:], "expand_bias must be"),
        (2, right[2][:, 0], "depthwise must have filters"),
        (2, right[2].double(), "depthwise must be"),
        (2, right[2][:, :, :, :2], "depthwise must be"),
        (2, right[2].expand(96, 2, 3, 3), "depthwise must be"),
        (3, right[3].double(), "depthwise_bias must be"),
        (4, right[4][:, 1:], "project expects 95 channels; depthwise has 96"),
        (4, right[4][:, :, 0], "project must be"),
        (5, right[5][:, None], "project_bias must be"),
    ):
        with pytest.raises(RuntimeError, match=message):
            operator(*right[:index], wrong, *right[index + 1 :])
