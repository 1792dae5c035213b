"""3x3 convolutions for inference on a CPU: `torch.ops.rmnet.conv3x3`, and where it pays.

Winograd's F(4x4, 3x3) takes a quarter of the multiplications. What stands around a convolution, a
bias, a sum and rectifiers, is done while the numbers are at hand. docs/convolution.md says how, how
exact it is and what was tried.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rmnet.ops.backend import BACKEND
from rmnet.ops.checks import check_operands, check_result, check_room
from rmnet.ops.extension import instruction_set, problem

# With fewer channels, in or out, PyTorch's convolution is as fast: docs/convolution.md.
FEWEST_CHANNELS = 24


def conv3x3(
    x: Tensor,
    weight: Tensor,
    *,
    scale: Tensor | None = None,
    bias: Tensor | None = None,
    residual: Tensor | None = None,
    relu_input: bool = False,
    relu_output: bool = False,
    out: Tensor | None = None,
    scratch: Tensor | None = None,
    instruction_set: str = "best",
) -> Tensor:
    """Convolve with 3x3 filters, stride 1 and padding 1, in float32 on a CPU.

    y = scale * conv(relu(x)) + bias + residual, then relu(y); each part but the convolution as
    asked for. The same numbers whatever the number of threads. Of a pixel that is not finite, all
    of the 4x4 tiles that it reaches are not finite or NaN.

    Source: Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016.

    Args:
        x: (B, C, H, W) float32; read as it lies if channels are its innermost axis
            (channels-last, and crops of it), else copied first.
        weight: (K, C, 3, 3) float32, as of `nn.Conv2d`, K and C not 0; read as it lies.
        scale: (K,) float32, of the filters.
        bias: (K,) float32.
        residual: (B, K, H, W) float32, of a layout as of x.
        relu_input: Rectify x first; x itself stays as it is.
        relu_output: Rectify the result, after bias and residual were added.
        out: (B, K, H, W) float32, channels innermost: where the result is written. May be the
            residual, but nothing of x.
        scratch: (size,) float32, contiguous: room for what comes in between, used if it is large
            enough; without it, memory is allocated. For K and C of 256 and two threads, 16 MB.
        instruction_set: "best", "avx512", "avx2" or "portable".

    Returns:
        `out`, or else new: (B, K, H, W) float32, channels-last. Has no gradient.

    Raises:
        ValueError: shapes, dtypes or devices do not agree, or a gradient is wanted.
    """
    _check(x, weight, scale, bias, residual, out, scratch)
    if out is None:
        shape = (x.shape[0], weight.shape[0], *x.shape[2:])
        out = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    torch.ops.rmnet.conv3x3(
        out, x, weight, scale, bias, residual, relu_input, relu_output, instruction_set, scratch
    )
    return out


def conv3x3_obstacle(
    device: torch.device, dtype: torch.dtype, channels: int, out_channels: int
) -> str | None:
    """Why PyTorch should convolve, even without gradients; None if the operator should.

    RMNET_BACKEND is "native" for the operator wherever it can, even where it does not pay, and
    "pytorch" for nowhere.
    """
    if BACKEND == "pytorch":
        return "RMNET_BACKEND is 'pytorch'"
    if device.type != "cpu":
        return f"there is no native convolution for {device.type}"
    not_loaded = problem("cpu")
    if not_loaded is not None:
        return not_loaded
    if dtype != torch.float32:
        return f"convolutions of {dtype}; served: torch.float32"
    if BACKEND == "native":
        return None
    if instruction_set() == "portable":
        return "faster on a processor without AVX2"
    if min(channels, out_channels) < FEWEST_CHANNELS:
        return f"{channels} to {out_channels} channels; native from {FEWEST_CHANNELS} on"
    return None


def fits(convolution: nn.Conv2d) -> bool:
    """Whether it is a 3x3 convolution as `conv3x3` computes it."""
    return (
        convolution.kernel_size == (3, 3)
        and convolution.stride == (1, 1)
        and convolution.padding in ((1, 1), "same")
        and convolution.dilation == (1, 1)
        and convolution.groups == 1
        and convolution.padding_mode == "zeros"
    )


def _check(
    x: Tensor,
    weight: Tensor,
    scale: Tensor | None,
    bias: Tensor | None,
    residual: Tensor | None,
    out: Tensor | None,
    scratch: Tensor | None,
) -> None:
    vectors, results = {"scale": scale, "bias": bias}, {"residual": residual, "out": out}
    check_operands({"x": x, "weight": weight, "scratch": scratch, **vectors, **results})
    if weight.ndim != 4 or weight.shape[2:] != (3, 3) or weight.numel() == 0:
        raise ValueError(f"weight is {tuple(weight.shape)}; accepted: (K, C, 3, 3), K and C not 0")
    out_channels, channels = weight.shape[:2]
    if x.ndim != 4 or x.shape[1] != channels:
        raise ValueError(
            f"x is {tuple(x.shape)}; accepted beside this weight: (B, {channels}, H, W)"
        )
    for name, tensor in results.items():
        check_result(name, tensor, (x.shape[0], out_channels, *x.shape[2:]))
    for name, vector in vectors.items():
        if vector is not None and vector.shape != (out_channels,):
            raise ValueError(f"{name} is {tuple(vector.shape)}; accepted: ({out_channels},)")
    check_room(out, scratch)


def _nothing(*_: object) -> None:
    """What the operator returns."""


if problem("cpu") is None:  # the schema is there
    torch.library.register_fake("rmnet::conv3x3", _nothing)
