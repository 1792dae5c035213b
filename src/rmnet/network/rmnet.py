"""RMNet as a whole: what is computed of one frame, in order."""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rmnet.config import RMNetConfig
from rmnet.geometry import cells_in_boxes
from rmnet.network.decoder import Decoder
from rmnet.network.encoders import KeyValueHead, MemoryEncoder, QueryEncoder, other_objects
from rmnet.network.flow import TinyFlowNet


class QueryFeatures(NamedTuple):
    """Output of the query encoder for B frames; the same for every object."""

    key: Tensor  # (B, h, w, ck), on the stride-16 grid
    value: Tensor  # (B, cv, h, w)
    skip8: Tensor  # (B, C, H/8, W/8), of the object-independent half of the decoder
    skip4: Tensor  # (B, C, H/4, W/4)


class RMNet(nn.Module):
    """Encoders, TinyFlowNet and decoder.

    Images are normalised (B, 3, H, W) and padded, so that 16 divides H and W.
    """

    def __init__(self, config: RMNetConfig) -> None:
        super().__init__()
        self.config = config
        self.flow = TinyFlowNet(config)
        self.query_encoder = QueryEncoder(config)
        self.query_head = KeyValueHead(config)
        self.memory_encoder = MemoryEncoder(config)
        self.memory_head = KeyValueHead(config)
        self.decoder = Decoder(config)
        if config.tied_encoders:
            for name, layer in self.query_encoder.named_modules():
                if isinstance(layer, nn.Conv2d):
                    self.memory_encoder.set_submodule(name, layer)
            self.memory_head.key = self.query_head.key

    def with_config(self, config: RMNetConfig) -> RMNet:
        """Return the same modules under another configuration, which must have the same shapes."""
        other = copy.copy(self)
        other.config = config
        return other

    def encode_query(self, image: Tensor) -> QueryFeatures:
        """Encode frames (B, 3, H, W) that are to be segmented."""
        f4, f8, f16 = self.query_encoder(image)
        key, value = self.query_head(f16)
        skip8, skip4 = self.decoder.skips(f8, f4)
        return QueryFeatures(key.movedim(1, -1), value, skip8, skip4)

    def encode_memory(self, image: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Encode past frames with their masks.

        Args:
            image: (B, 3, H, W).
            masks: (B, N, H, W) in [0, 1], soft.

        Returns:
            Keys (B*N, h, w, ck) and values (B*N, h, w, cv), the object running fastest.
        """
        num_objects = masks.shape[1]
        others = other_objects(masks).flatten(0, 1).unsqueeze(1) if num_objects > 1 else None
        # The image's part is convolved once, then repeated.
        stem = self.memory_encoder.stem(image).repeat_interleave(num_objects, dim=0)
        features = self.memory_encoder(stem, masks.flatten(0, 1).unsqueeze(1), others)
        key, value = self.memory_head(features.f16)
        return key.movedim(1, -1), value.movedim(1, -1)

    def decode(self, readout: Tensor, features: QueryFeatures, query_boxes: Tensor) -> Tensor:
        """Decode every object by itself.

        Args:
            readout: (B*N, h, w, cv), read from each object's memory.
            features: Output of `encode_query` for the B frames.
            query_boxes: (B*N, 4) cells; outside, the query's value is hidden.

        Returns:
            (B, N, H, W) float32 probabilities of each object against background.
        """
        batch = features.key.shape[0]
        num_objects = readout.shape[0] // batch
        shared = features[1:]
        if batch > 1:  # a single frame's features are broadcast instead
            shared = [x.repeat_interleave(num_objects, dim=0) for x in shared]
        value, skip8, skip4 = shared
        region = cells_in_boxes(query_boxes, *value.shape[-2:]).unsqueeze(1)
        read = readout.movedim(-1, 1)
        logits = self.decoder(torch.cat((read, value * region), dim=1), skip8, skip4)
        return object_probabilities(logits).unflatten(0, (batch, num_objects))


def object_probabilities(logits: Tensor) -> Tensor:
    """Return float32 probabilities (n, 4h, 4w) of the second class, from logits (n, 2, h, w)."""
    # A softmax over two classes is the sigmoid of their difference, and enlarging is linear.
    odds = (logits[:, 1:] - logits[:, :1]).float()
    odds = F.interpolate(odds, scale_factor=4, mode="bilinear", align_corners=False)
    return odds[:, 0].sigmoid()
