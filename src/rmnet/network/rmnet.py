"""RMNet put together: what one frame costs, in the order it is paid."""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from rmnet.config import RMNetConfig
from rmnet.geometry import cells_in_boxes
from rmnet.network.decoder import Decoder
from rmnet.network.encoders import (
    KeyValueHead,
    MemoryEncoder,
    QueryEncoder,
    other_objects,
    tie_convolutions,
)
from rmnet.network.flow import TinyFlowNet


class QueryFeatures(NamedTuple):
    """What the query encoder says about B frames; the same for every object.

    key (B, h, w, ck) and value (B, cv, h, w) of the stride-16 grid; skip8 and skip4, the
    object-independent half of the decoder, (B, C, H/8, W/8) and (B, C, H/4, W/4).
    """

    key: Tensor
    value: Tensor
    skip8: Tensor
    skip4: Tensor


class RMNet(nn.Module):
    """Encoders, TinyFlowNet and decoder. Time, memory and files are others' business.

    Images are normalised (B, 3, H, W), padded such that 16 divides H and W.
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
            tie_convolutions(self.memory_encoder, self.query_encoder)
            self.memory_head.key = self.query_head.key

    def with_config(self, config: RMNetConfig) -> RMNet:
        """The same modules under another configuration, one of the same shapes."""
        other = copy.copy(self)
        other.config = config
        return other

    def encode_query(self, image: Tensor) -> QueryFeatures:
        """Encode frames to be segmented, (B, 3, H, W)."""
        f4, f8, f16 = self.query_encoder(image)
        key, value = self.query_head(f16)
        skip8, skip4 = self.decoder.skips(f8, f4)
        return QueryFeatures(rearrange(key, "b c h w -> b h w c"), value, skip8, skip4)

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
        # The image's own part is convolved once, then repeated.
        stem = self.memory_encoder.stem(image).repeat_interleave(num_objects, dim=0)
        features = self.memory_encoder(stem, masks.flatten(0, 1).unsqueeze(1), others)
        key, value = self.memory_head(features.f16)
        return rearrange(key, "n c h w -> n h w c"), rearrange(value, "n c h w -> n h w c")

    def decode(self, readout: Tensor, features: QueryFeatures, query_boxes: Tensor) -> Tensor:
        """Decode every object by itself.

        Args:
            readout: (B*N, h, w, cv), what each object's memory said.
            features: Of the B frames.
            query_boxes: (B*N, 4) cells; outside, the query's value is hidden.

        Returns:
            (B, N, H, W) float32 probabilities of each object against background.
        """
        batch = features.key.shape[0]
        num_objects = readout.shape[0] // batch
        per_object = [_repeat(x, num_objects) for x in (features.value, *features[2:])]
        value, skip8, skip4 = per_object
        region = cells_in_boxes(query_boxes, *value.shape[-2:]).unsqueeze(1)
        read = rearrange(readout, "n h w c -> n c h w")
        logits = self.decoder(torch.cat((read, value * region), dim=1), skip8, skip4)
        return object_probabilities(logits).unflatten(0, (batch, num_objects))


def object_probabilities(logits: Tensor) -> Tensor:
    """Probabilities (n, 4h, 4w) float32 of the second of two classes, from logits (n, 2, h, w)."""
    # Softmax over two classes is a sigmoid of their difference, which enlarging leaves alone.
    odds = (logits[:, 1:] - logits[:, :1]).float()
    odds = F.interpolate(odds, scale_factor=4, mode="bilinear", align_corners=False)
    return odds[:, 0].sigmoid()


def _repeat(x: Tensor, num_objects: int) -> Tensor:
    """Rows of (B, ...) once an object: (B*N, ...), or (1, ...) left to broadcasting."""
    return x if x.shape[0] == 1 else x.repeat_interleave(num_objects, dim=0)
