"""The native 3x3 convolution against PyTorch's in float64, and when it serves."""

import itertools
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from readers import INSTRUCTION_SETS, needs_native_op
from rmnet.ops import backend
from rmnet.ops.conv3x3 import conv3x3, conv3x3_obstacle, fits_conv3x3
from rmnet.runtime.convolution import Convolution

convolution = sys.modules["rmnet.ops.conv3x3"]  # the package gives the function of that name
CPU = torch.device("cpu")
TOLERANCE = 4e-5  # of numbers whose deviation is about 1
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


def reference(
    x, weight, bias=None, residual=None, *, scale=None, relu_input=False, relu_output=False
):
    """In float64, by the definition."""
    x, weight = x.double(), weight.double()
    y = F.conv2d(x.relu() if relu_input else x, weight, padding=1)
    if scale is not None:
        y = y * scale.double()[:, None, None]
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
    scale = 1 + bias.abs() / 4
    got = conv3x3(
        x, weight, scale=scale, bias=bias, residual=residual, **rectifiers,
        instruction_set=instruction_set,
    )  # fmt: skip
    assert_close(got, reference(x, weight, bias, residual, scale=scale, **rectifiers))


@needs_native_op
@every_instruction_set
def test_every_combination_of_what_stands_around_it(instruction_set):
    x, weight, bias, residual = random_case()
    for has_scale, has_bias, has_residual, relu_input, relu_output in itertools.product(
        (False, True), repeat=5
    ):
        around = {
            "scale": bias.flip(0) if has_scale else None,
            "bias": bias if has_bias else None,
            "residual": residual if has_residual else None,
            "relu_input": relu_input,
            "relu_output": relu_output,
        }
        got = conv3x3(x, weight, **around, instruction_set=instruction_set)
        assert_close(got, reference(x, weight, **around))


@needs_native_op
@every_instruction_set
@pytest.mark.parametrize(("channels", "out_channels"), [(300, 33), (513, 40), (1024, 64)])
def test_many_channels_add_up_in_groups(instruction_set, channels, out_channels):
    x, weight, bias, residual = random_case(
        channels=channels, out_channels=out_channels, height=10, width=22
    )
    around = {"bias": bias, "residual": residual, "relu_input": True, "relu_output": True}
    got = conv3x3(x, weight, **around, instruction_set=instruction_set)
    assert_close(got, reference(x, weight, **around))


@needs_native_op
@every_instruction_set
def test_it_is_about_as_exact_as_the_direct_convolution(instruction_set):
    x, weight, *_ = random_case(channels=256, out_channels=64, height=24, width=24)
    want = reference(x, weight)
    got = conv3x3(x, weight, instruction_set=instruction_set)
    # One rounding of sums of deviation 1 is 3e-8; direct convolutions have 2e-7 to 9e-7.
    assert (got - want).square().mean().sqrt() < 2e-6


@needs_native_op
@every_instruction_set
def test_the_number_of_threads_changes_nothing(instruction_set):
    x, weight, bias, residual = random_case(batch=2, channels=37, height=30, width=54)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(
                conv3x3(x, weight, bias=bias, residual=residual, instruction_set=instruction_set)
            )
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(result, results[0]) for result in results)


@needs_native_op
def test_the_layout_of_the_arguments_changes_nothing():
    x, weight, bias, residual = random_case(batch=2, channels=16)
    want = conv3x3(x, weight, bias=bias, residual=residual)
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
        got = conv3x3(given_x, weight, bias=bias, residual=given_residual)
        assert torch.equal(got, want)
        assert torch.equal(given_x, x)
        assert torch.equal(given_residual, residual)
    strided = bias.repeat_interleave(2)[::2]
    assert torch.equal(conv3x3(x, weight, bias=strided, residual=residual), want)
    for order in ((3, 2, 1, 0), (0, 2, 3, 1), (1, 0, 3, 2)):
        back = torch.tensor(order).argsort().tolist()
        elsewhere = weight.permute(order).contiguous().permute(back)
        assert elsewhere.stride() != weight.stride()
        assert torch.equal(conv3x3(x, elsewhere, bias=bias, residual=residual), want)


@needs_native_op
@every_instruction_set
def test_the_result_may_be_written_over_the_residual(instruction_set):
    """Also where input channels are added up in groups."""
    for channels in (20, 300):
        x, weight, bias, residual = random_case(batch=2, channels=channels)
        around = {"bias": bias, "relu_output": True, "instruction_set": instruction_set}
        want = conv3x3(x, weight, residual=residual, **around)
        larger = torch.full((2, 40, 12, 15), 7.0).contiguous(memory_format=torch.channels_last)
        over = larger[:, :, 1:10, 2:15].copy_(residual)
        got = conv3x3(x, weight, residual=over, out=over, **around)
        assert got is over
        assert torch.equal(over, want)
        over.fill_(7)
        assert (larger == 7).all()


@needs_native_op
@every_instruction_set
@pytest.mark.parametrize("threads", [1, 3])
def test_scratch_changes_nothing_and_is_not_overrun(instruction_set, threads):
    x, weight, bias, residual = random_case(channels=270, height=30)
    around = {"bias": bias, "residual": residual, "instruction_set": instruction_set}
    want = conv3x3(x, weight, **around)
    large = 2 * (36 * 270 * 64 + threads * 1728 * (270 + 64))  # twice what it takes
    number = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for size in (0, 1000, large):
            room = torch.full((size + 64,), 7.0)
            assert torch.equal(conv3x3(x, weight, **around, scratch=room[:size]), want)
            assert (room[size:] == 7).all()
            assert (room[:size] != 7).any() == (size == large)
    finally:
        torch.set_num_threads(number)


@needs_native_op
@pytest.mark.parametrize("shape", [(0, 8, 5, 6), (2, 8, 0, 6), (2, 8, 5, 0)])
def test_nothing_convolves_to_nothing(shape):
    weight = random_case(channels=8)[1]
    assert conv3x3(torch.zeros(shape), weight).shape == (shape[0], 40, *shape[2:])


@needs_native_op
@every_instruction_set
@pytest.mark.parametrize("number", [torch.nan, torch.inf])
def test_what_is_not_finite_stays_in_the_tiles_it_reaches(instruction_set, number):
    x, weight, *_ = random_case(height=16, width=16)
    spoilt = x.clone()
    spoilt[0, 3, 5, 6] = number  # inside one tile: neighbours do not reach it
    want = conv3x3(x, weight, instruction_set=instruction_set)
    got = conv3x3(spoilt, weight, instruction_set=instruction_set)
    assert not got[0, :, 4:7, 5:8].isfinite().any()  # where the definition is not finite either
    got[0, :, 4:8, 4:8] = want[0, :, 4:8, 4:8]
    assert torch.equal(got, want)
    rectified = conv3x3(spoilt, weight, relu_input=True, instruction_set=instruction_set)
    assert not rectified[0, :, 4:7, 5:8].isfinite().any()


# --- A citizen of PyTorch ----------------------------------------------------------------------


@needs_native_op
@every_instruction_set
def test_torch_finds_nothing_wrong_with_the_operators(instruction_set):
    x, weight, bias, residual = random_case(batch=2)
    out = torch.empty_like(residual, memory_format=torch.channels_last)
    for images in (x, x.contiguous(memory_format=torch.channels_last)):
        for more in ((None, None, None, False, False), (bias, bias, residual, True, True)):
            torch.library.opcheck(
                torch.ops.rmnet.conv3x3.default, (out, images, weight, *more, instruction_set)
            )


@needs_native_op
def test_it_compiles_in_one_graph():
    x, weight, bias, residual = random_case(channels=36)
    convolve = Convolution(convolution_of(weight, bias), dtype=torch.float32)
    assert convolve.is_native

    def twice(x, residual):
        return convolve(x, residual=residual.clone(), relu=True) * 2

    residual = residual.contiguous(memory_format=torch.channels_last)
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
        last = residual.contiguous(memory_format=torch.channels_last)
        assert_close(convolve(x, relu_input=True, residual=last, relu=True), want)
        assert not convolve.state_dict()


@needs_native_op
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_1x1_convolution_is_a_product_whatever_the_layout(layout):
    x, weight, bias, residual = random_case(batch=2, channels=36)
    conv = nn.Conv2d(36, 40, 1)
    conv.load_state_dict({"weight": weight[:, :, :1, :1], "bias": bias})
    convolve = Convolution(conv, dtype=torch.float32)
    assert convolve.is_product
    plain = F.conv2d(x.double(), weight[:, :, :1, :1].double(), bias.double())
    x, residual = (image.contiguous(memory_format=layout) for image in (x, residual))
    with torch.no_grad():
        assert_close(convolve(x), plain)
        want = (plain + residual).relu()
        assert_close(convolve(x, residual=residual, relu=True), want)


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
    assert not fits_conv3x3(nn.Conv2d(8, 8, **{"kernel_size": 3, "padding": 1, **changed}))


@pytest.mark.parametrize("padding", [1, "same"])
def test_3x3_convolutions_fit(padding):
    assert fits_conv3x3(nn.Conv2d(8, 8, 3, padding=padding))


# --- Who serves --------------------------------------------------------------------------------


def test_it_serves_wide_float32_convolutions_on_a_cpu(monkeypatch):
    monkeypatch.setattr(backend, "problem", lambda _: None)
    monkeypatch.setattr(backend, "instruction_set", lambda: "avx2")
    monkeypatch.setattr(backend, "BACKEND", "auto")
    fewest = convolution.FEWEST_CHANNELS
    assert conv3x3_obstacle(CPU, torch.float32, fewest, fewest) is None
    for device, dtype, widths, reason in (
        (torch.device("cuda"), torch.float32, (256, 256), "no native convolution for cuda"),
        (CPU, torch.bfloat16, (256, 256), "torch.bfloat16; served: torch.float32"),
        (CPU, torch.float32, (256, 2), "256 to 2 channels; native from"),
        (CPU, torch.float32, (3, 256), "3 to 256 channels; native from"),
    ):
        assert reason in conv3x3_obstacle(device, dtype, *widths)
    monkeypatch.setattr(backend, "instruction_set", lambda: "portable")
    assert "without AVX2" in conv3x3_obstacle(CPU, torch.float32, 256, 256)
    monkeypatch.setattr(backend, "problem", lambda _: "rmnet._C was not built")
    assert conv3x3_obstacle(CPU, torch.float32, 256, 256) == "rmnet._C was not built"


def test_the_backend_can_be_forced_where_there_is_an_operator(monkeypatch):
    monkeypatch.setattr(backend, "problem", lambda _: None)
    monkeypatch.setattr(backend, "instruction_set", lambda: "portable")
    monkeypatch.setattr(backend, "BACKEND", "native")
    assert conv3x3_obstacle(CPU, torch.float32, 2, 2) is None
    assert conv3x3_obstacle(torch.device("cuda"), torch.float32, 256, 256) is not None
    monkeypatch.setattr(backend, "BACKEND", "pytorch")
    assert conv3x3_obstacle(CPU, torch.float32, 256, 256) == "RMNET_BACKEND is 'pytorch'"


# --- Errors ------------------------------------------------------------------------------------


@needs_native_op
@pytest.mark.parametrize("name", ["x", "weight", "scale", "bias", "residual"])
def test_a_wanted_gradient_is_refused(name):
    x, weight, bias, residual = random_case()
    arguments = {"x": x, "weight": weight, "scale": bias, "bias": bias, "residual": residual}
    arguments[name] = arguments[name].clone().requires_grad_()
    with pytest.raises(ValueError, match=f"{name} wants a gradient; .*no_grad"):
        conv3x3(**arguments)
    with torch.no_grad():
        conv3x3(**arguments)


@needs_native_op
def test_nothing_is_converted_on_the_way_to_the_operator():
    x, weight, *_ = random_case()
    for wrong in ({"x": x.half()}, {"x": x[0]}, {"weight": weight.double()}):
        with pytest.raises(RuntimeError):
            conv3x3(**{"x": x, "weight": weight, **wrong})


@needs_native_op
def test_the_operator_itself_refuses_what_would_be_read_or_written_outside():
    x, weight, bias, residual = random_case()
    last = torch.empty_like(residual, memory_format=torch.channels_last)
    operator = torch.ops.rmnet.conv3x3
    for arguments, message in (
        ((last, x[0], weight, None, None, None), "x must be"),
        ((last, x.double(), weight, None, None, None), "x must be"),
        ((last, x[:, 1:], weight, None, None, None), "x has 19 channels; weight expects 20"),
        ((last, x, weight[:, :, :2], None, None, None), "weight must be"),
        ((last, x, weight.double(), None, None, None), "weight must be"),
        ((last, x, weight[:0], None, None, None), "weight is empty"),
        ((last, x, weight, bias[1:], None, None), "scale must be"),
        ((last, x, weight, None, bias[1:], None), "bias must be"),
        ((last, x, weight, None, bias.double(), None), "bias must be"),
        ((last, x, weight, None, None, residual[:, 1:]), "residual does not have the shape"),
        ((last, x, weight, None, None, residual.double()), "residual must be"),
        ((last[:, 1:], x, weight, None, None, None), "out does not have the shape"),
        ((last.double(), x, weight, None, None, None), "out must be"),
        ((residual, x, weight, None, None, None), "the channels of out must be adjacent"),
    ):
        with pytest.raises(RuntimeError, match=message):
            operator(*arguments, False, False)
    with pytest.raises(RuntimeError, match="this processor does not support"):
        operator(last, x, weight, None, None, None, False, False, "sse9")
    with pytest.raises(RuntimeError, match="scratch must be"):
        operator(last, x, weight, None, None, None, False, False, "best", torch.zeros(9).double())
