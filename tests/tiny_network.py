"""A network so small that its files are written and read in milliseconds."""

from __future__ import annotations

import dataclasses
import hashlib

import torch

from rmnet.config import RMNetConfig
from rmnet.network.rmnet import RMNet
from tiny import CONFIG as TINY


def tiny_network(seed=0, **changes):
    """Return a network with random weights, including the statistics of its BatchNorms."""
    generator = torch.Generator().manual_seed(seed)
    network = RMNet(dataclasses.replace(TINY, **changes))
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
            else:
                tensor.fill_(seed + 7)
    return network


def assert_same_tensors(given, wanted):
    """Assert that two networks have the same tensors, bit for bit."""
    given, wanted = given.state_dict(), wanted.state_dict()
    assert given.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert given[name].dtype == tensor.dtype, name
        assert torch.equal(given[name], tensor), name


def digest(network):
    """Hash all tensors, to compare networks across processes."""
    total = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        total.update(name.encode() + tensor.numpy().tobytes())
    return total.hexdigest()


LITE0 = RMNetConfig(
    backbone="efficientnet_lite0",
    stem_width=32,
    stage_widths=(24, 40, 112),
    stage_depths=(3, 2, 6),
)
