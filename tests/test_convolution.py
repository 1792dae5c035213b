"""The native 3x3 convolution against PyTorch's in float64, and when it serves."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from readers import INSTRUCTION_SETS
from rmnet.network.convolution import Convolution
from rmnet.ops import convolution, extension
from rmnet.ops.convolution import conv3x3, fits, pack, why_pytorch

CPU = torch.device("cpu")
TOLERANCE = 4e-5  # of numbers whose deviation is about 1
needs_native_op = pytest.mark.skipif(
    extension.problem("cpu") is not None, reason=f"no native op: {extension.problem('cpu')}"
)
every_instruction_set = pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)


def random_case(*, batch=1, channels=20, out_channels=40, height=9, width=13, seed=0):
    """x, weight, bias and residual; what is convolved has a deviation of about 1."""
    g = torch.Generator().manual_seed(seed)
    weight = torch.randn((out_channels, channels, 3, 3), generator=g)
    return (
        torch.randn((batch, channels, height, width), generator=g),
        weight / (9 * channels) ** 0.5,
        torch.randn(out_channels, generator=g),
        torch.randn((batch, out_channels, height, width), generator=g),
    )


def reference(x, weight, bias=None, residual=None, *, relu_input=False, relu_output=False):
    """In float64, by the definition."""
    x, weight = x.double(), weight.double()
    y = F.conv2d(x.relu() if relu_input else x, weight, padding=1)
    if bias is not None:
        y = y + bias.double()[:, None, None]
    if residual is not None:
        y = y + residual.double()
    return y.relu() if relu_output else y


def assert_close(got, want):
    assert got.shape == want.shape
    assert torch.allclose(got.double(), want, rtol=0, atol=TOLERANCE)


# --- The numbers -------------------------------------------------------------------------------


@needs_native_op
@every_instruction_set
@settings(max_examples=25, deadline=None)
@given(
    sizes=st.fixed_dictionaries(
        {
            "batch": st.integers(1, 3),
            "channels": st.integers(1, 70),
            "out_channels": st.integers(1, 70),
            "height": st.integers(1, 14),
            "width": st.integers(1, 14),
            "seed": st.integers(0, 99),
        }
    ),
    relu_input=st.booleans(),
    relu_output=st.booleans(),
)
def test_any_size_equals_the_definition(instruction_set, sizes, relu_input, relu_output):
    x, weight, bias, residual = random_case(**sizes)
    rectifiers = {"relu_input": relu_input, "relu_output": relu_output}
    got = conv3x3(
        x, pack(weight), len(weight), bias=bias, residual=residual, **rectifiers,
        instruction_set=instruction_set,
    )  # fmt: skip
    assert_close(got, reference(x, weight, bias, residual, **rectifiers))


@needs_native_op
@every_instruction_set
def test_every_combination_of_what_stands_around_it(instruction_set):
    x, weight, bias, residual = random_case()
    packed = pack(weight)
    for has_bias, has_residual, relu_input, relu_output in itertools.product(
        (False, True), repeat=4
    ):
        around = {
            "bias": bias if has_bias else None,
            "residual": residual if has_residual else None,
            "relu_input": relu_input,
            "relu_output": relu_output,
        }
        got = conv3x3(x, packed, 40, **around, instruction_set=instruction_set)
        assert_close(got, reference(x, weight, **around))


@needs_native_op
@every_instruction_set
@pytest.mark.parametrize(("channels", "out_channels"), [(300, 33), (128, 96), (129, 64)])
def test_many_channels_add_up_in_parts(instruction_set, channels, out_channels):
    x, weight, *_ = random_case(channels=channels, out_channels=out_channels, height=30, width=22)
    got = conv3x3(x, pack(weight), out_channels, instruction_set=instruction_set)
    assert_close(got, reference(x, weight))


@needs_native_op
@every_instruction_set
def test_it_is_about_as_exact_as_the_direct_convolution(instruction_set):
    x, weight, *_ = random_case(channels=256, out_channels=64, height=24, width=24)
    want = reference(x, weight)
    got = conv3x3(x, pack(weight), 64, instruction_set=instruction_set)
    # One rounding of sums of deviation 1 is 3e-8; direct convolutions have 2e-7 to 9e-7.
    assert (got - want).square().mean().sqrt() < 2e-6


@needs_native_op
@every_instruction_set
def test_the_number_of_threads_changes_nothing(instruction_set):
    x, weight, bias, residual = random_case(batch=2, channels=37, height=30, width=54)
    packed = pack(weight)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(
                conv3x3(
                    x, packed, 40, bias=bias, residual=residual, instruction_set=instruction_set
                )
            )
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(result, results[0]) for result in results)


@needs_native_op
def test_the_layout_of_the_arguments_changes_nothing():
    x, weight, bias, residual = random_case(batch=2, channels=16)
    packed = pack(weight)
    want = conv3x3(x, packed, 40, bias=bias, residual=residual)
    assert want.is_contiguous(memory_format=torch.channels_last)

    def last(images):
        return images.contiguous(memory_format=torch.channels_last)

    def crop(images):
        """In the middle of a larger image of NaN, every second of a batch."""
        b, c, h, w = images.shape
        larger = last(images.new_full((2 * b, c + 3, h + 4, w + 5), torch.nan))
        view = larger[::2, 1 : c + 1, 2 : h + 2, 3 : w + 3]
        return view.copy_(images)

    assert not crop(x).is_contiguous(memory_format=torch.channels_last)
    for layout in (last, crop, lambda images: images.transpose(2, 3).contiguous().transpose(2, 3)):
        given_x, given_residual = layout(x), layout(residual)
        got = conv3x3(given_x, packed, 40, bias=bias, residual=given_residual)
        assert torch.equal(got, want)
        assert torch.equal(given_x, x)
        assert torch.equal(given_residual, residual)
    strided = bias.repeat_interleave(2)[::2]
    assert torch.equal(conv3x3(x, packed, 40, bias=strided, residual=residual), want)
    transposed = weight.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)
    assert torch.equal(pack(transposed), packed)


@needs_native_op
@pytest.mark.parametrize("shape", [(0, 8, 5, 6), (2, 8, 0, 6), (2, 8, 5, 0)])
def test_nothing_convolves_to_nothing(shape):
    packed = pack(random_case(channels=8)[1])
    assert conv3x3(torch.zeros(shape), packed, 40).shape == (shape[0], 40, *shape[2:])


@needs_native_op
@every_instruction_set
@pytest.mark.parametrize("number", [torch.nan, torch.inf])
def test_what_is_not_finite_stays_in_the_tiles_it_reaches(instruction_set, number):
    x, weight, *_ = random_case(height=16, width=16)
    packed = pack(weight)
    spoilt = x.clone()
    spoilt[0, 3, 5, 6] = number  # inside one tile: neighbours do not reach it
    want = conv3x3(x, packed, 40, instruction_set=instruction_set)
    got = conv3x3(spoilt, packed, 40, instruction_set=instruction_set)
    assert not got[0, :, 4:7, 5:8].isfinite().any()  # where the definition is not finite either
    got[0, :, 4:8, 4:8] = want[0, :, 4:8, 4:8]
    assert torch.equal(got, want)
    rectified = conv3x3(spoilt, packed, 40, relu_input=True, instruction_set=instruction_set)
    assert not rectified[0, :, 4:7, 5:8].isfinite().any()


@needs_native_op
def test_filters_are_packed_in_double_precision():
    """Read off by convolving single pixels: a filter of small integers comes back exactly."""
    weight = torch.arange(9.0).reshape(1, 1, 3, 3) - 4
    x = torch.zeros((1, 1, 3, 3))
    x[0, 0, 1, 1] = 1
    got = conv3x3(x, pack(weight), 1)
    assert torch.allclose(got, weight.flip(2, 3), rtol=0, atol=2e-6)


# --- A citizen of PyTorch ----------------------------------------------------------------------


@needs_native_op
@every_instruction_set
def test_torch_finds_nothing_wrong_with_the_operators(instruction_set):
    x, weight, bias, residual = random_case(batch=2)
    packed = pack(weight)
    torch.library.opcheck(torch.ops.rmnet.pack_conv3x3.default, (weight,))
    for images in (x, x.contiguous(memory_format=torch.channels_last)):
        for more in ((None, None, False, False), (bias, residual, True, True)):
            torch.library.opcheck(
                torch.ops.rmnet.conv3x3.default, (images, packed, 40, *more, instruction_set)
            )


@needs_native_op
def test_it_compiles_in_one_graph():
    x, weight, bias, residual = random_case(channels=36)
    convolve = Convolution(convolution_of(weight, bias), dtype=torch.float32)
    assert convolve.is_native

    def twice(x, residual):
        return convolve(x, residual=residual, relu=True) * 2

    with torch.no_grad():
        compiled = torch.compile(twice, fullgraph=True, backend="aot_eager")
        assert torch.equal(compiled(x, residual), twice(x, residual))


@needs_native_op
def test_it_can_be_exported():
    x, weight, bias, _ = random_case(channels=36)
    convolve = Convolution(convolution_of(weight, bias), dtype=torch.float32)
    assert convolve.is_native
    with torch.no_grad():
        exported = torch.export.export(convolve, (x,))
        assert torch.equal(exported.module()(x), convolve(x))


# --- The module --------------------------------------------------------------------------------


def convolution_of(weight, bias):
    made = nn.Conv2d(*weight.shape[1::-1], 3, padding=1, bias=bias is not None)
    made.load_state_dict({"weight": weight} | ({} if bias is None else {"bias": bias}))
    return made


@needs_native_op
def test_the_module_computes_what_the_convolution_did():
    x, weight, bias, residual = random_case(channels=36)
    for given_bias in (bias, None):
        convolve = Convolution(convolution_of(weight, given_bias), dtype=torch.float32)
        assert convolve.is_native
        want = reference(x, weight, given_bias, residual, relu_input=True, relu_output=True)
        assert_close(convolve(x, relu_input=True, residual=residual, relu=True), want)
        assert not convolve.state_dict()


@pytest.mark.parametrize(
    "changed",
    [
        {"kernel_size": 1, "padding": 0},
        {"stride": 2},
        {"padding": 0},
        {"dilation": 2},
        {"groups": 4},
        {"padding_mode": "reflect"},
    ],
)
def test_other_convolutions_do_not_fit(changed):
    assert not fits(nn.Conv2d(8, 8, **{"kernel_size": 3, "padding": 1, **changed}))


@pytest.mark.parametrize("padding", [1, "same"])
def test_3x3_convolutions_fit(padding):
    assert fits(nn.Conv2d(8, 8, 3, padding=padding))


# --- Who serves --------------------------------------------------------------------------------


def test_it_serves_wide_float32_convolutions_on_a_cpu(monkeypatch):
    monkeypatch.setattr(convolution, "problem", lambda _: None)
    monkeypatch.setattr(convolution, "instruction_set", lambda: "avx2")
    monkeypatch.setattr(convolution, "BACKEND", "auto")
    fewest = convolution.FEWEST_CHANNELS
    assert why_pytorch(CPU, torch.float32, fewest, fewest) is None
    for device, dtype, widths, reason in (
        (torch.device("cuda"), torch.float32, (256, 256), "no native convolution for cuda"),
        (CPU, torch.bfloat16, (256, 256), "torch.bfloat16; served: torch.float32"),
        (CPU, torch.float32, (256, 2), "256 to 2 channels; native from"),
        (CPU, torch.float32, (3, 256), "3 to 256 channels; native from"),
    ):
        assert reason in why_pytorch(device, dtype, *widths)
    monkeypatch.setattr(convolution, "instruction_set", lambda: "portable")
    assert "without AVX2" in why_pytorch(CPU, torch.float32, 256, 256)
    monkeypatch.setattr(convolution, "problem", lambda _: "rmnet._C was not built")
    assert why_pytorch(CPU, torch.float32, 256, 256) == "rmnet._C was not built"


def test_the_backend_can_be_forced_where_there_is_an_operator(monkeypatch):
    monkeypatch.setattr(convolution, "problem", lambda _: None)
    monkeypatch.setattr(convolution, "instruction_set", lambda: "portable")
    monkeypatch.setattr(convolution, "BACKEND", "native")
    assert why_pytorch(CPU, torch.float32, 2, 2) is None
    assert why_pytorch(torch.device("cuda"), torch.float32, 256, 256) is not None
    monkeypatch.setattr(convolution, "BACKEND", "pytorch")
    assert why_pytorch(CPU, torch.float32, 256, 256) == "RMNET_BACKEND is 'pytorch'"


# --- Errors ------------------------------------------------------------------------------------


@needs_native_op
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"x": torch.zeros(20, 9, 13)}, r"x is \(20, 9, 13\); accepted .* \(B, 20, H, W\)"),
        ({"x": torch.zeros(1, 21, 9, 13)}, r"x is \(1, 21, 9, 13\); accepted .* \(B, 20, H, W\)"),
        ({"x": torch.zeros(1, 20, 9, 13).half()}, r"x is torch.float16 on cpu; accepted: .*conv2d"),
        ({"x": torch.zeros(1, 20, 9, 13, device="meta")}, "x is torch.float32 on meta; accepted"),
        ({"x": torch.zeros(1, 20, 9, 13, requires_grad=True)}, r"x wants a gradient; .*no_grad"),
        ({"packed": torch.zeros(40, 20, 3, 3)}, r"packed is \(40, 20, 3, 3\); accepted: .*pack"),
        ({"out_channels": 65}, "out_channels is 65; accepted beside this packed: 33 to 64"),
        ({"out_channels": 32}, "out_channels is 32; accepted beside this packed: 33 to 64"),
        ({"bias": torch.zeros(64)}, r"bias is \(64,\); accepted: \(40,\)"),
        ({"residual": torch.zeros(1, 40, 13, 9)}, r"residual is .*; accepted: .*\(1, 40, 9, 13\)"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_what_would(wrong, message):
    x, weight, *_ = random_case()
    arguments = {"x": x, "packed": pack(weight), "out_channels": 40, **wrong}
    with pytest.raises(ValueError, match=message):
        conv3x3(
            arguments.pop("x"), arguments.pop("packed"), arguments.pop("out_channels"), **arguments
        )


@needs_native_op
@pytest.mark.parametrize(
    "weight", [torch.zeros(8, 8, 1, 1), torch.zeros(8, 3, 3), torch.zeros(0, 8, 3, 3)]
)
def test_only_3x3_filters_are_packed(weight):
    with pytest.raises(ValueError, match=r"weight is .*; accepted: \(K, C, 3, 3\)"):
        pack(weight)
    with pytest.raises(ValueError, match=r"torch.float64 on cpu; accepted: torch.float32 on cpu"):
        pack(torch.zeros(8, 8, 3, 3).double())


@needs_native_op
def test_the_operator_itself_refuses_what_would_be_read_outside():
    x, weight, bias, residual = random_case()
    packed = pack(weight)
    operator = torch.ops.rmnet.conv3x3
    for arguments, message in (
        ((x[0], packed, 40, None, None), "x must be"),
        ((x.double(), packed, 40, None, None), "x must be"),
        ((x[:, 1:], packed, 40, None, None), "x has 19 channels; packed is for 20"),
        ((x, packed[:, :, :, :16], 40, None, None), "packed must come from pack_conv3x3"),
        ((x, packed.transpose(0, 1), 40, None, None), "packed must come from pack_conv3x3"),
        ((x, packed, 65, None, None), "packed is not for 65 output channels"),
        ((x, packed, 0, None, None), "packed is not for 0 output channels"),
        ((x, packed, 40, bias[1:], None), "bias must be"),
        ((x, packed, 40, bias.double(), None), "bias must be"),
        ((x, packed, 40, None, residual[:, 1:]), "residual does not have the shape"),
        ((x, packed, 40, None, residual.double()), "residual must be"),
    ):
        with pytest.raises(RuntimeError, match=message):
            operator(*arguments, False, False)
    with pytest.raises(RuntimeError, match="runs nothing of that name"):
        operator(x, packed, 40, None, None, False, False, "sse9")
    with pytest.raises(RuntimeError, match="weight must be"):
        torch.ops.rmnet.pack_conv3x3(weight[:, :, :2])
