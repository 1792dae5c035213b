"""Weights: found, loaded, checked, saved, shared and told apart."""

from rmnet.weights.hashes import Fingerprint, fingerprint, tensors_sha256
from rmnet.weights.hub import library_version
from rmnet.weights.load import PACKAGED, load_network, push_network, save_network

__all__ = [
    "PACKAGED",
    "Fingerprint",
    "fingerprint",
    "library_version",
    "load_network",
    "push_network",
    "save_network",
    "tensors_sha256",
]
