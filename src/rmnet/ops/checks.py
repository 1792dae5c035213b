"""What the CPU's operators on images ask of their tensors: float32, no gradient, the right shape."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def check_float32(name: str, tensor: Tensor) -> None:
    """Raise a ValueError unless a tensor is float32 on the CPU."""
    if tensor.dtype != torch.float32 or tensor.device.type != "cpu":
        raise ValueError(
            f"{name} is {tensor.dtype} on {tensor.device}; accepted: torch.float32 on cpu; "
            "elsewhere use F.conv2d"
        )


def check_operands(tensors: Mapping[str, Tensor | None]) -> None:
    """Raise a ValueError unless all tensors that are given are float32 and want no gradient."""
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        check_float32(name, tensor)
        if tensor.requires_grad and torch.is_grad_enabled():
            raise ValueError(
                f"{name} wants a gradient; accepted: none; use torch.no_grad(), or F.conv2d"
            )


def check_result(name: str, tensor: Tensor | None, shape: tuple[int, ...]) -> None:
    """Raise a ValueError unless a tensor, if given, has the shape of the result."""
    if tensor is not None and tensor.shape != shape:
        raise ValueError(f"{name} is {tuple(tensor.shape)}; accepted: the result's {shape}")


def check_room(out: Tensor | None, scratch: Tensor | None) -> None:
    """Raise a ValueError unless an operator can write to what is given."""
    if out is not None and out.shape[1] > 1 and out.stride(1) != 1:
        raise ValueError(
            f"out has strides {out.stride()}; accepted: 1 for channels; allocate it with "
            "memory_format=torch.channels_last"
        )
    if scratch is not None and not scratch.is_contiguous():
        raise ValueError(f"scratch has strides {scratch.stride()}; accepted: torch.empty(size)")
