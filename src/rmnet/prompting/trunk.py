"""The trunk of the prompt network: the query encoder of the packaged weights."""

from __future__ import annotations

import torch
from torch import Tensor

from rmnet.geometry import normalise
from rmnet.network import Features
from rmnet.runtime import FusedNetwork
from rmnet.weights import load_network


class Trunk:
    """Turns pictures into features."""

    def __init__(self, network: FusedNetwork) -> None:
        self._encoder = network.query_encoder
        self.device = network.device
        self.widths: tuple[int, int, int] = network.config.stage_widths

    @classmethod
    def packaged(cls, device: torch.device | str = "cpu") -> Trunk:
        """Load the query encoder of rmnet-small."""
        network = load_network().to(device).to(memory_format=torch.channels_last)
        return cls(FusedNetwork(network.requires_grad_(False)))

    def __call__(self, pictures: Tensor) -> tuple[Tensor, Features]:
        """Normalise and encode pictures (B, 3, H, W) in [0, 255]; 16 divides H and W."""
        image = normalise(pictures).contiguous(memory_format=torch.channels_last)
        f4, f8 = self._encoder.shallow_stages(self._encoder.stem(image))
        return image, Features(f4, f8, self._encoder.stage16(f8))
