"""3x3 convolutions for inference on a CPU: `torch.ops.rmnet.conv3x3`, and where it pays.

Winograd's F(4x4, 3x3) takes a quarter of the multiplications. What stands around a convolution, a
bias, a sum and rectifiers, is done while the numbers are at hand. docs/convolution.md says how, how
exact it is and what was tried.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rmnet.ops.backend import BACKEND
from rmnet.ops.extension import instruction_set, problem

# With fewer channels, in or out, PyTorch's convolution is as fast: docs/results.md.
FEWEST_CHANNELS = 32


def conv3x3(
    x: Tensor,
    packed: Tensor,
    out_channels: int,
    *,
    bias: Tensor | None = None,
    residual: Tensor | None = None,
    relu_input: bool = False,
    relu_output: bool = False,
    instruction_set: str = "best",
) -> Tensor:
    """Convolve with 3x3 filters, stride 1 and padding 1, in float32 on a CPU.

    y = conv(relu(x)) + bias + residual, then relu(y); each part but the convolution as asked for.
    The same numbers whatever the number of threads. Of a pixel that is not finite, all of the
    4x4 tiles that it reaches are not finite or NaN.

    Source: Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016.

    Args:
        x: (B, C, H, W) float32; read as it lies if channels are its innermost axis
            (channels-last, and crops of it), else copied first.
        packed: Filters for C, from `pack`.
        out_channels: K, of the filters packed.
        bias: (K,) float32.
        residual: (B, K, H, W) float32, of a layout as of x.
        relu_input: Rectify x first; x itself stays as it is.
        relu_output: Rectify the result, after bias and residual were added.
        instruction_set: "best", "avx512", "avx2" or "portable".

    Returns:
        (B, K, H, W) float32, channels-last. Has no gradient.

    Raises:
        ValueError: shapes, dtypes or devices do not agree, or a gradient is wanted.
    """
    _check(x, packed, out_channels, bias, residual)
    return torch.ops.rmnet.conv3x3(
        x, packed, out_channels, bias, residual, relu_input, relu_output, instruction_set
    )


def pack(weight: Tensor) -> Tensor:
    """Transform filters, once, for any number of calls of `conv3x3`.

    Args:
        weight: (K, C, 3, 3) float32 on a CPU, as of `nn.Conv2d`.

    Returns:
        (36, ceil(K / 32), C, 32) float32: four times the weight's size, if 32 divides K. The same
        for every instruction set.

    Raises:
        ValueError: the weight is of another shape, dtype or device.
    """
    if weight.ndim != 4 or weight.shape[2:] != (3, 3) or weight.numel() == 0:
        raise ValueError(f"weight is {tuple(weight.shape)}; accepted: (K, C, 3, 3), K and C not 0")
    _check_float32("weight", weight)
    return torch.ops.rmnet.pack_conv3x3(weight.detach())


def why_pytorch(
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
    x: Tensor, packed: Tensor, out_channels: int, bias: Tensor | None, residual: Tensor | None
) -> None:
    for name, tensor in (("x", x), ("packed", packed), ("bias", bias), ("residual", residual)):
        if tensor is None:
            continue
        _check_float32(name, tensor)
        if tensor.requires_grad and torch.is_grad_enabled():
            raise ValueError(
                f"{name} wants a gradient; accepted: none; use torch.no_grad(), or F.conv2d"
            )
    if packed.ndim != 4 or packed.shape[0] != 36 or packed.shape[3] != 32:
        raise ValueError(f"packed is {tuple(packed.shape)}; accepted: what pack(weight) returns")
    panels, channels = packed.shape[1:3]
    if not 32 * (panels - 1) < out_channels <= 32 * panels:
        raise ValueError(
            f"out_channels is {out_channels}; accepted beside this packed: "
            f"{32 * panels - 31} to {32 * panels}, as many as the weight had"
        )
    if x.ndim != 4 or x.shape[1] != channels:
        raise ValueError(
            f"x is {tuple(x.shape)}; accepted beside this packed: (B, {channels}, H, W)"
        )
    result = (x.shape[0], out_channels, *x.shape[2:])
    if residual is not None and residual.shape != result:
        raise ValueError(f"residual is {tuple(residual.shape)}; accepted: the result's {result}")
    if bias is not None and bias.shape != (out_channels,):
        raise ValueError(f"bias is {tuple(bias.shape)}; accepted: ({out_channels},)")


def _check_float32(name: str, tensor: Tensor) -> None:
    if tensor.dtype != torch.float32 or tensor.device.type != "cpu":
        raise ValueError(
            f"{name} is {tensor.dtype} on {tensor.device}; accepted: torch.float32 on cpu; "
            "elsewhere use F.conv2d"
        )


def _packed_shape_only(weight: Tensor) -> Tensor:
    return weight.new_empty((36, -(-weight.shape[0] // 32), weight.shape[1], 32))


def _shape_only(x: Tensor, packed: Tensor, out_channels: int, *_: object) -> Tensor:
    shape = (x.shape[0], out_channels, *x.shape[2:])
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


if problem("cpu") is None:  # the schema is there
    torch.library.register_fake("rmnet::pack_conv3x3", _packed_shape_only)
    torch.library.register_fake("rmnet::conv3x3", _shape_only)
