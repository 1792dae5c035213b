"""Inverted residual blocks for inference on a CPU: `torch.ops.rmnet.inverted_residual`.

Such a block (MobileNetV2, EfficientNet-Lite) makes its input some six times as wide, filters every
channel by itself and makes it narrow again. PyTorch passes over the wide tensor four times or
more; the operator never makes it. docs/inverted-residual.md says how, how exact it is and what was
tried.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rmnet.ops.backend import BACKEND
from rmnet.ops.checks import check_float32, check_operands, check_result, check_room
from rmnet.ops.extension import instruction_set, problem

KERNELS, STRIDES = (3, 5), (1, 2)


@dataclass(frozen=True)
class PackedBlock:
    """A block's weights as the operator reads them; made by `pack`.

    Attributes:
        weights: (size,) float32, in the order of their use.
        channels: Width of the input.
        expanded: Width in between.
        out_channels: Width of the output.
        kernel: Side of the depthwise filters, 3 or 5.
        stride: Of the depthwise filters, 1 or 2.
        expands: Whether there is an expansion; without, `expanded` is `channels`.
        residual: Whether the input is added to the output.
    """

    weights: Tensor
    channels: int
    expanded: int
    out_channels: int
    kernel: int
    stride: int
    expands: bool
    residual: bool

    def output_shape(self, shape: Sequence[int]) -> tuple[int, int, int, int]:
        """Return the shape (B, K, H', W') of the result for an input (B, C, H, W)."""
        batch, _, height, width = shape
        return batch, self.out_channels, -(-height // self.stride), -(-width // self.stride)


def pack(
    expand: tuple[Tensor, Tensor] | None,
    depthwise: tuple[Tensor, Tensor],
    project: tuple[Tensor, Tensor],
    *,
    stride: int,
    residual: bool,
) -> PackedBlock:
    """Copy a block's weights into the order in which `inverted_residual` reads them.

    Each part is a weight as of `nn.Conv2d` and a bias, float32 on a CPU; a BatchNorm has to be
    folded into them.

    Args:
        expand: (E, C, 1, 1) and (E,); None if the block expands nothing.
        depthwise: (E, 1, k, k) and (E,), k 3 or 5.
        project: (K, E, 1, 1) and (K,).
        stride: Of the depthwise filters, 1 or 2.
        residual: Whether the input is added to the output; stride is 1 then, and K is C.

    Raises:
        ValueError: shapes, dtypes or devices do not agree, or no such block is served.
    """
    expanded, _, kernel, _ = _check_part(
        "depthwise", depthwise, f"(E, 1, k, k), k one of {KERNELS}",
        lambda shape: shape[1] == 1 and shape[2] in KERNELS and shape[3] == shape[2],
    )  # fmt: skip
    channels = expanded
    if expand is not None:
        _, channels, *_ = _check_part(
            "expand", expand, f"({expanded}, C, 1, 1)",
            lambda shape: shape[0] == expanded and shape[2:] == (1, 1),
        )  # fmt: skip
    out_channels, *_ = _check_part(
        "project", project, f"(K, {expanded}, 1, 1)",
        lambda shape: shape[1] == expanded and shape[2:] == (1, 1),
    )  # fmt: skip
    if stride not in STRIDES:
        raise ValueError(f"stride is {stride}; accepted: one of {STRIDES}")
    if residual and (stride != 1 or channels != out_channels):
        raise ValueError(
            f"residual=True for {channels} to {out_channels} channels with stride {stride}; "
            "accepted: as many channels, and stride 1"
        )
    with torch.no_grad():
        weights = torch.ops.rmnet.pack_inverted_residual(
            *(expand or (None, None)), *depthwise, *project
        )
    return PackedBlock(
        weights, channels, expanded, out_channels, kernel, stride, expand is not None, residual
    )


def inverted_residual(
    x: Tensor,
    block: PackedBlock,
    *,
    out: Tensor | None = None,
    scratch: Tensor | None = None,
    instruction_set: str = "best",
) -> Tensor:
    """Compute an inverted residual block in float32 on a CPU.

    y = project(relu6(depthwise(relu6(expand(x))))) + x, where convolutions have biases, the
    depthwise filters are padded by k // 2 on every side, and expansion and sum are there if the
    block has them. The same numbers whatever the number of threads. NaN stays NaN.

    Source: Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks", CVPR 2018.

    Args:
        x: (B, C, H, W) float32; read as it lies if channels are its innermost axis
            (channels-last, and crops of it), else copied first.
        block: Weights, and what kind of block it is.
        out: (B, K, ceil(H / stride), ceil(W / stride)) float32, channels innermost: where the
            result is written. May be nothing of x.
        scratch: (size,) float32, contiguous: room for what comes in between, used if it is large
            enough; without it, memory is allocated. At most 350 KB a thread.
        instruction_set: "best", "avx512", "avx2" or "portable".

    Returns:
        `out`, or else new: channels-last float32. Has no gradient.

    Raises:
        ValueError: shapes, dtypes or devices do not agree, or a gradient is wanted.
    """
    _check(x, block, out, scratch)
    if out is None:
        out = torch.empty(
            block.output_shape(x.shape),
            dtype=x.dtype,
            device=x.device,
            memory_format=torch.channels_last,
        )
    torch.ops.rmnet.inverted_residual(
        out,
        x,
        block.weights,
        block.expanded,
        block.kernel,
        block.stride,
        block.expands,
        block.residual,
        instruction_set,
        scratch,
    )
    return out


def inverted_residual_obstacle(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why PyTorch should compute such blocks, even without gradients; None if the operator should.

    RMNET_BACKEND is "native" for the operator wherever it can, even where it does not pay, and
    "pytorch" for nowhere.
    """
    if BACKEND == "pytorch":
        return "RMNET_BACKEND is 'pytorch'"
    if device.type != "cpu":
        return f"there is no native inverted residual block for {device.type}"
    not_loaded = problem("cpu")
    if not_loaded is not None:
        return not_loaded
    if dtype != torch.float32:
        return f"inverted residual blocks of {dtype}; served: torch.float32"
    if BACKEND != "native" and instruction_set() == "portable":
        return "faster on a processor without AVX2"
    return None


def _check_part(
    name: str, part: tuple[Tensor, Tensor], accepted: str, fits: Callable[[torch.Size], bool]
) -> torch.Size:
    """Check one of the convolutions; the shape of its weight."""
    weight, bias = part
    check_float32(f"{name}'s weight", weight)
    check_float32(f"{name}'s bias", bias)
    if weight.ndim != 4 or weight.numel() == 0 or not fits(weight.shape):
        raise ValueError(
            f"{name}'s weight is {tuple(weight.shape)}; accepted: {accepted}, none of them 0"
        )
    if bias.shape != weight.shape[:1]:
        raise ValueError(f"{name}'s bias is {tuple(bias.shape)}; accepted: ({len(weight)},)")
    return weight.shape


def _check(x: Tensor, block: PackedBlock, out: Tensor | None, scratch: Tensor | None) -> None:
    check_operands({"x": x, "out": out, "scratch": scratch})
    if x.ndim != 4 or x.shape[1] != block.channels:
        raise ValueError(
            f"x is {tuple(x.shape)}; accepted by this block: (B, {block.channels}, H, W)"
        )
    check_result("out", out, block.output_shape(x.shape))
    check_room(out, scratch)


def _nothing(*_: object) -> None:
    """What the operator returns."""


if problem("cpu") is None:  # the schema is there
    torch.library.register_fake("rmnet::inverted_residual", _nothing)
