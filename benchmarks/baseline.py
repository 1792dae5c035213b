"""A plain implementation of the released computation, with the library's modules and weights.

It is the reference for the speed of the library: each object has its own warp, memory encoding,
read and decoding with its own skip features; attention is dense over masked keys and values; the
memory is concatenated at every step; tensors are in NCHW order and BatchNorms are not folded. Its
results equal those of the released code: see tests/benchmarks/test_baseline.py.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from benchmarks.read_variants import dense
from rmnet.config import STRIDE, LostRegion
from rmnet.geometry import (
    Padding,
    backward_warp,
    cells_in_boxes,
    mask_boxes,
    normalise,
    pixel_to_cell_boxes,
    shift_boxes,
    soft_aggregate,
    union_boxes,
)
from rmnet.network import Features, RMNet


@dataclass(frozen=True, eq=False)
class BaselineFrame:
    """The result of one frame.

    Attributes:
        labels: (H, W) int32, the user's ids, 0 background.
        object_ids: N ids.
        boxes: (N, 4) int32 px, half-open around the object's pixels; zeros without any.
        regions: (N, 4) int32 px, the searched regions; zeros on the first frame.
        probabilities: (N+1, H, W) float32, background first.
    """

    labels: NDArray[np.int32]
    object_ids: tuple[int, ...]
    boxes: NDArray[np.int32]
    regions: NDArray[np.int32]
    probabilities: Tensor


@dataclass(eq=False)
class Remembered:
    """Memory frames of N objects: key (N, ck, T, h, w), value (N, cv, T, h, w), boxes (N, T, 4)."""

    key: Tensor
    value: Tensor
    boxes: Tensor

    def with_frame(self, frame: Remembered) -> Remembered:
        """Return a copy with one more frame at the end."""
        return Remembered(
            torch.cat((self.key, frame.key), dim=2),
            torch.cat((self.value, frame.value), dim=2),
            torch.cat((self.boxes, frame.boxes), dim=1),
        )


class BaselineSession:
    """Follows the objects of a first mask through frames at the size of the network.

    Its methods are the stages of a step. `probabilities` (N+1, H, W) belong to the last frame.
    """

    def __init__(self, network: RMNet, *, every: int = 5) -> None:
        """Take a copy of a network that no segmenter has optimised.

        Args:
            network: The weights.
            every: Frames from one memory frame to the next.
        """
        self.network = copy.deepcopy(network).to(memory_format=torch.contiguous_format).eval()
        self.config = network.config
        self.probabilities: Tensor | None = None
        self._every = every
        self._index = 0
        self._ids: tuple[int, ...] = ()
        self._pixels: Tensor | None = None
        self._memory: Remembered | None = None

    @torch.inference_mode()
    def step(
        self, frame: NDArray[np.uint8], mask: NDArray[np.integer] | None = None
    ) -> BaselineFrame:
        """Find the objects in the next frame.

        Args:
            frame: (H, W, 3) uint8.
            mask: Labels (H, W), for the first frame only.
        """
        pixels = torch.from_numpy(np.array(frame)).permute(2, 0, 1).contiguous()
        if mask is not None:
            labels = torch.from_numpy(np.array(mask, dtype=np.int64))
            self._ids = tuple(int(i) for i in labels.unique() if i not in (0, 255))
            probabilities = torch.stack([labels == i for i in (0, *self._ids)]).float()
            regions = torch.zeros((len(self._ids), 4), dtype=torch.int32)
        else:
            probabilities, regions = self._propagate(pixels)
        labels, boxes = self.label(probabilities)
        self.probabilities, self._pixels = probabilities, pixels
        self._index += 1
        return BaselineFrame(labels, self._ids, boxes, regions.numpy(), probabilities)

    def _propagate(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        if self.probabilities is None or self._pixels is None:
            raise ValueError("the first frame needs a mask; write step(frame, mask)")
        masks = self.probabilities[1:]
        padding = Padding.to_multiple((pixels.shape[1], pixels.shape[2]), STRIDE)
        image, previous = normalise(pixels)[None], normalise(self._pixels)[None]
        memory = self.memorize(padding.add(previous), padding.add(masks))
        regions = self.search(image, previous, masks)
        features, key, value = self.encode_query(padding.add(image))
        boxes = pixel_to_cell_boxes(shift_boxes(regions, padding.left, padding.top))
        objects = []
        for j in range(len(masks)):
            readout = self.read(key, memory, boxes, j)
            objects.append(self.decode(readout, value, features, boxes[j]))
        return padding.remove(self.aggregate(torch.cat(objects))), regions

    def memorize(self, image: Tensor, masks: Tensor) -> Remembered:
        """Encode the previous frame with the mask of each object, and add it to the memory."""
        encoder, keys, values = self.network.memory_encoder, [], []
        boxes = pixel_to_cell_boxes(self._boxes(masks, self.config.lost_memory_region))
        if self.config.memory_threshold is not None:
            masks = (masks >= self.config.memory_threshold).float()
        for j in range(len(masks)):
            stem = encoder.stem(image) + encoder.mask_stem(masks[j][None, None])
            if encoder.others_stem is not None:
                others = (masks.sum(dim=0) - masks[j]).clamp(0, 1)
                stem = stem + encoder.others_stem(others[None, None])
            key, value = self.network.memory_head(encoder.stages(stem).f16)
            keys.append(key)
            values.append(value)
        frame = Remembered(
            torch.cat(keys)[:, :, None], torch.cat(values)[:, :, None], boxes[:, None]
        )
        memory = frame if self._memory is None else self._memory.with_frame(frame)
        if (self._index - 1) % self._every == 0:
            self._memory = memory
        return memory

    def search(self, image: Tensor, previous: Tensor, masks: Tensor) -> Tensor:
        """Return the boxes to search: around each mask, moved along the flow."""
        flow = self.network.flow(image, previous)
        moved = torch.cat([backward_warp(mask[None, None], flow)[0] for mask in masks])
        boxes = self._boxes(moved, "frame")
        if self.config.search_region == "union":
            boxes = union_boxes(boxes, self._boxes(masks, "frame"))
        return boxes

    def encode_query(self, image: Tensor) -> tuple[Features, Tensor, Tensor]:
        """Return features, key and value of the frame."""
        features = self.network.query_encoder(image)
        return features, *self.network.query_head(features.f16)

    def read(self, key: Tensor, memory: Remembered, query_boxes: Tensor, j: int) -> Tensor:
        """Read the memory of object j: (1, cv, h, w)."""
        h, w = key.shape[2:]
        memory_keys, memory_values = memory.key[j], memory.value[j]
        if self.config.read == "excluded":
            keys, values = (x.movedim(0, -1)[None] for x in (memory_keys, memory_values))
            # `dense` divides by sqrt(ck); the factor corrects for a network with another scale.
            query = key.movedim(1, -1) * (self.config.score_scale * self.config.key_width**0.5)
            read = dense(query, keys, values, query_boxes[j : j + 1], memory.boxes[j : j + 1])
            return read.nan_to_num().movedim(-1, 1)  # an empty memory region reads 0
        inside = cells_in_boxes(memory.boxes[j], h, w).flatten()
        keys = memory_keys.flatten(1) * inside
        values = memory_values.flatten(1) * inside
        queries = (key[0] * cells_in_boxes(query_boxes[j], h, w)).flatten(1)
        scores = (keys.T @ queries) * self.config.score_scale
        return (values @ scores.softmax(dim=0)).view(1, -1, h, w)

    def decode(self, readout: Tensor, value: Tensor, features: Features, box: Tensor) -> Tensor:
        """Decode one object against background, on the padded frame: (1, H, W)."""
        decoder = self.network.decoder
        region = cells_in_boxes(box, *value.shape[2:])
        joined = torch.cat((readout, value * region), dim=1)
        skip8, skip4 = decoder.skips(features.f8, features.f4)
        logits = decoder(joined, skip8, skip4)
        logits = F.interpolate(logits, scale_factor=4, mode="bilinear", align_corners=False)
        return logits.softmax(dim=1)[:, 1]

    def aggregate(self, objects: Tensor) -> Tensor:
        """Combine separately decoded objects into probabilities (N+1, H, W)."""
        return soft_aggregate(objects[None])[0].softmax(dim=0)

    def label(self, probabilities: Tensor) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return labels, and the box of the pixels of each object."""
        channel = probabilities.argmax(dim=0)
        inside = torch.stack([channel == j for j in range(1, len(probabilities))])
        boxes = mask_boxes(inside, threshold=1, min_pixels=1, margin=0, lost="empty")
        return np.array((0, *self._ids), dtype=np.int32)[channel.numpy()], boxes.numpy()

    def _boxes(self, masks: Tensor, lost: LostRegion) -> Tensor:
        return mask_boxes(
            masks,
            threshold=self.config.mask_threshold,
            min_pixels=self.config.min_object_pixels,
            margin=self.config.box_margin,
            lost=lost,
        )
