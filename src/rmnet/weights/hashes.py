"""Hashes that identify weights, whatever file they came in."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from rmnet.network import RMNet


class Fingerprint(NamedTuple):
    """Hexadecimal SHA-256 of a network's tensors, and of its configuration as `config.json`."""

    weights_sha256: str
    config_sha256: str


def fingerprint(network: RMNet) -> Fingerprint:
    """Hash a network's tensors and configuration, whatever device or file they are on."""
    config = hashlib.sha256(network.config.to_json().encode())
    return Fingerprint(tensors_sha256(unique_tensors(network)), config.hexdigest())


def tensors_sha256(tensors: Mapping[str, Tensor], *, start: bytes = b"") -> str:
    """Return the SHA-256 of `start` and of each tensor's name, dtype, shape and bytes."""
    total = hashlib.sha256(start)
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().cpu().contiguous().view(-1)
        total.update(flat.view(torch.uint8).numpy().data)
    return total.hexdigest()


def unique_tensors(network: RMNet) -> dict[str, Tensor]:
    """Return parameters and buffers by name; a tensor that two modules share appears once."""
    return dict(network.named_parameters()) | dict(network.named_buffers())
