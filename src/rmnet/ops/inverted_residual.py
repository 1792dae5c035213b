"""Inverted residual blocks for inference on a CPU: `torch.ops.rmnet.inverted_residual`.

PyTorch passes over the wide tensor inside of a block at least four times; the operator never stores
it. docs/lab/inverted-residual.md has the algorithm, its precision and the alternatives tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rmnet.ops.backend import not_served, refuse_gradients, register_fake, use_pytorch


@dataclass(frozen=True)
class PackedBlock:
    """A block as the operator reads it; made by `pack`."""

    weights: Tensor  # (size,) float32, in the order of their use
    expanded: int  # width between expansion and projection
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

    Each part is a weight as of `nn.Conv2d` and a bias, float32 on a CPU, with its BatchNorm folded
    into them.

    Args:
        expand: (E, C, 1, 1) and (E,); None if the block expands nothing.
        depthwise: (E, 1, k, k) and (E,), k 3 or 5.
        project: (K, E, 1, 1) and (K,).
        stride: Stride of the depthwise filters, 1 or 2.
        residual: Whether the input is added to the output, which needs stride 1 and K = C.

    Raises:
        RuntimeError: shapes, dtypes or devices are not accepted; from the operator.
    """
    with torch.no_grad():
        weights = torch.ops.rmnet.pack_inverted_residual(
            *(expand or (None, None)), *depthwise, *project
        )
    expanded, _, kernel, _ = depthwise[0].shape
    return PackedBlock(
        weights, expanded, len(project[0]), kernel, stride, expand is not None, residual
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
    block has them. The number of threads does not change the numbers. NaN stays NaN.

    Source: Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks", CVPR 2018.

    Args:
        x: (B, C, H, W) float32; see `conv3x3`.
        block: Weights and kind of the block.
        out: (B, K, ceil(H / stride), ceil(W / stride)) float32, channels innermost: memory for the
            result, no part of x.
        scratch: See `conv3x3`; at most 350 KB a thread.
        instruction_set: See `conv3x3`.

    Returns:
        `out`, or else new: channels-last float32. Has no gradient.

    Raises:
        ValueError: a gradient is wanted.
        RuntimeError: shapes, dtypes, devices or layouts are not accepted; from the operator.
    """
    refuse_gradients(x=x)
    if out is None:
        shape = block.output_shape(x.shape)
        out = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    kind = block.expanded, block.kernel, block.stride, block.expands, block.residual
    torch.ops.rmnet.inverted_residual(out, x, block.weights, *kind, instruction_set, scratch)
    return out


def inverted_residual_obstacle(device: torch.device, dtype: torch.dtype) -> str | None:
    """Return why PyTorch should compute such blocks; None if native code should."""
    return use_pytorch(device, not_served("inverted residual block", device, dtype))


register_fake("inverted_residual", lambda *_: None)
