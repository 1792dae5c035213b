"""Weights: find, load, check, save, share and fingerprint them."""

from rmnet.weights.hashes import Fingerprint, fingerprint, tensors_sha256
from rmnet.weights.load import PACKAGED, load_network, push_network, save_network
from rmnet.weights.safetensors_file import read_safetensors

__all__ = [
    "PACKAGED",
    "Fingerprint",
    "fingerprint",
    "load_network",
    "push_network",
    "read_safetensors",
    "save_network",
    "tensors_sha256",
]
