"""What tells weights from others, whatever file they came in."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from rmnet.network import RMNet


class Fingerprint(NamedTuple):
    """Hexadecimal sha256 of a network's tensors, and of its configuration as `config.json`."""

    weights_sha256: str
    config_sha256: str


def fingerprint(network: RMNet) -> Fingerprint:
    """Hash what decides a network's numbers, device and version of the library apart.

    A released .pth and its conversion agree, and so do copies on several devices.
    """
    # Tensors that tied encoders share come once, as in files.
    tensors = dict(network.named_parameters()) | dict(network.named_buffers())
    config = hashlib.sha256(network.config.to_json().encode())
    return Fingerprint(tensors_sha256(tensors), config.hexdigest())


def tensors_sha256(tensors: Mapping[str, Tensor], *, start: bytes = b"") -> str:
    """Hexadecimal sha256 over `start`, then name, dtype, shape and bytes of each tensor, by name."""
    total = hashlib.sha256(start)
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().cpu().contiguous().view(-1)
        total.update(flat.view(torch.uint8).numpy().data)
    return total.hexdigest()
