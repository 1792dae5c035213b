"""Executors: how a session runs the steps of the method, one frame at a time, on its device."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor

from rmnet.ablations import best_match_read
from rmnet.geometry import cells_in_boxes
from rmnet.network import QueryFeatures, object_probabilities, other_objects
from rmnet.ops import regional_read
from rmnet.runtime.fused_network import FusedNetwork


class MemoryView(NamedTuple):
    """A memory of n objects in T frames, in no particular order of time."""

    key: Tensor  # (n, T, h, w, ck)
    value: Tensor  # (n, T, h, w, cv)
    boxes: Tensor  # (n, T, 4) int32 cells
    present: Tensor  # (n, T) bool: whether the object existed in that frame


class Executor(ABC):
    """One session's way of running the network on its device.

    Images are normalised (1, 3, H, W), where 16 divides H and W; boxes are int32 cells (N, 4), one
    for each of N objects, and the same in all steps of a frame. With a `dtype` below float32, calls
    come under autocast.
    """

    def __init__(self, network: FusedNetwork) -> None:
        self.config, self.device, self.dtype = network.config, network.device, network.dtype
        self._network = network

    def activations(self) -> AbstractContextManager[None]:
        """Return a scope for the methods below; at its end their results are lost."""
        return nullcontext()

    def flow(self, image: Tensor, previous: Tensor) -> Tensor:
        """Estimate the flow to `previous`: (1, 2, H, W) px, x first; outlives a scope."""
        return self._network.flow(image, previous)

    @abstractmethod
    def encode_query(self, image: Tensor, boxes: Tensor) -> QueryFeatures:
        """Encode the frame to be segmented; the features are undefined outside of the boxes."""

    @abstractmethod
    def encode_memory(self, image: Tensor, masks: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Encode a past frame with its masks (N, H, W), in [0, 1].

        Returns keys (N, h, w, ck) and values (N, h, w, cv), undefined outside of the boxes.
        """

    def read(self, query: QueryFeatures, memory: MemoryView, boxes: Tensor) -> Tensor:
        """Read each object's memory inside its box: (N, h, w, cv)."""
        config, query_key = self.config, query.key.expand(len(boxes), -1, -1, -1)
        read = best_match_read if config.search_region == "best_match" else regional_read
        tensors = query_key, memory.key, memory.value, boxes, memory.boxes
        return read(
            *tensors, present=memory.present, semantics=config.read, scale=config.score_scale
        )

    @abstractmethod
    def decode(self, readout: Tensor, query: QueryFeatures, boxes: Tensor) -> Tensor:
        """Decode every object by itself; the query's value is hidden outside of its box.

        Returns (N, H, W) float32 probabilities of each object against background, which outlive a
        scope.
        """


class BatchedExecutor(Executor):
    """For GPUs: whole frames, objects as a batch, and nothing waits for boxes to reach the host."""

    def encode_query(self, image: Tensor, boxes: Tensor) -> QueryFeatures:
        """See `Executor.encode_query`."""
        del boxes
        encoder = self._network.query_encoder
        f4, f8 = encoder.shallow_stages(encoder.stem(image))
        key, value = self._network.query_head(encoder.stage16(f8))
        return QueryFeatures(key.movedim(1, -1), value, *self._network.decoder.skips(f8, f4))

    def encode_memory(self, image: Tensor, masks: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """See `Executor.encode_memory`."""
        del boxes
        encoder = self._network.memory_encoder
        others = other_objects(masks[None])[0, :, None] if len(masks) > 1 else None
        f16 = encoder(encoder.stem(image), masks[:, None], others)
        key, value = self._network.memory_head(f16)
        return key.movedim(1, -1), value.movedim(1, -1)

    def decode(self, readout: Tensor, query: QueryFeatures, boxes: Tensor) -> Tensor:
        """See `Executor.decode`."""
        region = cells_in_boxes(boxes, *query.value.shape[-2:]).unsqueeze(1)
        joined = torch.cat((readout.movedim(-1, 1), query.value * region), dim=1)
        return object_probabilities(self._network.decoder(joined, query.skip8, query.skip4))
