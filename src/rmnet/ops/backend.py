"""Native code or PyTorch: RMNET_BACKEND, and what the operators have in common."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from torch import Tensor

from rmnet.errors import ConfigError
from rmnet.ops.extension import instruction_set, problem

# Read once: a call that looked it up could not be compiled in one graph.
BACKEND = os.environ.get("RMNET_BACKEND", "auto")
if BACKEND not in ("auto", "native", "pytorch"):
    raise ConfigError(
        f"RMNET_BACKEND is {BACKEND!r}; accepted: auto, native, pytorch; unset it for the best"
    )


def not_served(
    name: str,
    device: torch.device,
    dtype: torch.dtype,
    *,
    devices: tuple[str, ...] = ("cpu",),
    dtypes: tuple[torch.dtype, ...] = (torch.float32,),
) -> str | None:
    """Return why no binary can compute `name`; None if one can."""
    if device.type not in devices:
        return f"there is no native {name} for {device.type}"
    not_loaded = problem(device.type)
    if not_loaded is None and dtype not in dtypes:
        return f"{name}s of {dtype}; served: {', '.join(map(str, dtypes))}"
    return not_loaded


def use_pytorch(
    device: torch.device, unserved: str | None, *, slower: str | None = None, required: bool = False
) -> str | None:
    """Return why PyTorch should compute: RMNET_BACKEND, or native code cannot, or would be slower.

    Raises a ConfigError if RMNET_BACKEND is "native" and `required`, but native code cannot.
    """
    if required and unserved is not None and BACKEND == "native":
        raise ConfigError(
            f"RMNET_BACKEND is 'native', but {unserved}; unset it, or see `rmnet info`"
        )
    if BACKEND == "pytorch":
        return "RMNET_BACKEND is 'pytorch'"
    if unserved is not None or BACKEND == "native":
        return unserved
    if device.type == "cpu" and instruction_set() == "portable":
        return "faster on a processor without AVX2"
    return slower


def refuse_gradients(**tensors: Tensor | None) -> None:
    """Raise a ValueError if a tensor wants a gradient, which native code does not have."""
    for name, tensor in tensors.items():
        if tensor is not None and tensor.requires_grad and torch.is_grad_enabled():
            raise ValueError(f"{name} wants a gradient; accepted: none; use no_grad() or F.conv2d")


def register_fake(operator: str, result: Callable[..., Tensor | None]) -> None:
    """Tell torch.compile and torch.export the shape of an operator's result, if it is declared."""
    if problem("cpu") is None:
        torch.library.register_fake(f"rmnet::{operator}", result)
