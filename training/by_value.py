"""Tensors that travel between processes by value."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor


class ByValue:
    """A dataclass whose tensors are pickled as their bytes.

    torch would send each as a file descriptor of shared memory. Both may be scarce: containers
    often have 64 MB of /dev/shm, and shells 1024 descriptors.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle tensors as arrays."""
        fields = dataclasses.fields(self)  # pyright: ignore[reportArgumentType]
        values = [getattr(self, field.name) for field in fields]
        arrays = [value.numpy() if isinstance(value, Tensor) else value for value in values]
        tensors = [isinstance(value, Tensor) for value in values]
        return _rebuilt, (type(self), arrays, tensors)


def _rebuilt(kind: type[Any], arrays: list[Any], tensors: list[bool]) -> Any:  # noqa: ANN401
    pairs = zip(arrays, tensors, strict=True)
    return kind(*(torch.from_numpy(x) if is_tensor else x for x, is_tensor in pairs))
