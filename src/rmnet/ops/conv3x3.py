"""3x3 convolutions for inference on a CPU: `torch.ops.rmnet.conv3x3`, and where it pays.

Winograd's F(4x4, 3x3) takes a quarter of the multiplications; bias, sum and rectifiers are fused.
docs/lab/convolution.md has the algorithm, its precision and the alternatives tried.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rmnet.ops.backend import not_served, refuse_gradients, register_fake, use_pytorch

# With fewer channels, in or out, PyTorch's convolution is as fast: docs/lab/convolution.md.
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

    y = scale * conv(relu(x)) + bias + residual, then relu(y), with the parts that are asked for.
    The number of threads does not change the numbers. A pixel that is not finite makes all 4x4
    tiles that it reaches not finite or NaN.

    Source: Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016.

    Args:
        x: (B, C, H, W) float32; copied first unless channels are its innermost axis.
        weight: (K, C, 3, 3) float32, as of `nn.Conv2d`, K and C not 0.
        scale: (K,) float32, factors of the filters.
        bias: (K,) float32.
        residual: (B, K, H, W) float32, laid out like x.
        relu_input: Whether to rectify x first.
        relu_output: Whether to rectify the result, after bias and residual were added.
        out: (B, K, H, W) float32, channels innermost: memory for the result. May be the residual,
            but no part of x.
        scratch: (size,) float32, contiguous: memory for intermediate results, used if large enough.
            For K and C of 256 and two threads, 16 MB.
        instruction_set: "best", "avx512", "avx2" or "portable".

    Returns:
        `out`, or else new: (B, K, H, W) float32, channels-last. Has no gradient.

    Raises:
        ValueError: a gradient is wanted.
        RuntimeError: shapes, dtypes, devices or layouts are not accepted; from the operator.
    """
    refuse_gradients(x=x, weight=weight, scale=scale, bias=bias, residual=residual)
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
    """Return why PyTorch should convolve, even without gradients; None if native code should."""
    slower = None
    if min(channels, out_channels) < FEWEST_CHANNELS:
        slower = f"{channels} to {out_channels} channels; native from {FEWEST_CHANNELS} on"
    return use_pytorch(device, not_served("convolution", device, dtype), slower=slower)


def fits_conv3x3(convolution: nn.Conv2d) -> bool:
    """Return whether a convolution is one that `conv3x3` computes."""
    return (
        convolution.kernel_size == (3, 3)
        and convolution.stride == (1, 1)
        and convolution.padding in ((1, 1), "same")
        and convolution.dilation == (1, 1)
        and convolution.groups == 1
        and convolution.padding_mode == "zeros"
    )


register_fake("conv3x3", lambda *_: None)
