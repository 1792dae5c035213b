"""Runs training clips through the library's network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from rmnet.geometry import mask_boxes, normalise, pixel_to_cell_boxes, soft_aggregate
from rmnet.network import BasicBlock, Bottleneck, QueryFeatures, ResidualBlock, RMNet
from rmnet.ops import regional_read
from training.dense_read import dense_read
from training.phases import MarginRanges
from training.render import Clips

WHOLE_FRAME = 1 << 14  # px, a margin that reaches every border


def initialise(network: RMNet) -> None:
    """Start every residual block near the identity, as training from random weights requires."""
    for module in network.modules():
        if isinstance(module, BasicBlock):
            nn.init.zeros_(module.bn2.weight)
        elif isinstance(module, Bottleneck):
            nn.init.zeros_(module.bn3.weight)
        elif isinstance(module, ResidualBlock):
            with torch.no_grad():
                module.conv2.weight.mul_(0.1)
            if module.conv2.bias is not None:
                nn.init.zeros_(module.conv2.bias)


def set_training(network: RMNet, *, freeze_batchnorm: bool) -> None:
    """Put the network into training mode, with BatchNorms frozen on request."""
    network.train()
    if freeze_batchnorm:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()


def trunk_parameters(network: RMNet) -> list[nn.Parameter]:
    """Return the parameters of both encoders, apart from the stems that see masks."""
    own = {"mask_stem", "others_stem"}
    return [
        parameter
        for encoder in (network.query_encoder, network.memory_encoder)
        for name, parameter in encoder.named_parameters()
        if name.split(".")[0] not in own
    ]


@dataclass(frozen=True)
class Margins:
    """Pixels added around boxes, (n,) int64 each."""

    query: Tensor
    memory: Tensor


def random_margins(
    ranges: MarginRanges, rng: np.random.Generator, num_rows: int, device: torch.device
) -> Margins:
    """Draw margins; some rows get the whole frame, so that the network learns both reads."""
    whole = rng.random(num_rows) < ranges.whole_frame
    drawn = [
        np.where(whole, WHOLE_FRAME, rng.integers(low, high + 1, num_rows))
        for low, high in (ranges.query, ranges.memory)
    ]
    return Margins(*(torch.from_numpy(margin).to(device, non_blocking=True) for margin in drawn))


def unroll(
    network: RMNet,
    clips: Clips,
    margins: Margins,
    *,
    bfloat16: bool,
    through_estimates: bool = False,
) -> list[Tensor]:
    """Segment B clips from the masks of their first frames.

    As in inference, each frame is searched around the *estimated* masks of the previous frame, and
    every earlier frame is remembered with its estimate.

    Args:
        network: In training mode.
        clips: Clips on the device of the network.
        margins: Margins of the B*N rows.
        bfloat16: Whether the convolutions run in bfloat16.
        through_estimates: Whether gradients flow through the estimates. Released code: yes.

    Returns:
        T-1 logits (B, N+1, H, W) float32.
    """
    config, device = network.config, clips.frames.device
    read = regional_read if device.type == "cpu" else dense_read
    batch, frames, objects = clips.masks.shape[:3]
    images = normalise(clips.frames)
    estimate = clips.masks[:, 0]
    keys: list[Tensor] = []
    values: list[Tensor] = []
    boxes: list[Tensor] = []
    logits: list[Tensor] = []
    # One autocast region for all frames, so that weights are cast once.
    with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
        queries = network.encode_query(_channels_last(images[:, 1:].flatten(0, 1)))
        for t in range(1, frames):
            rows = estimate.detach().flatten(0, 1)
            key, value = network.encode_memory(_channels_last(images[:, t - 1]), estimate)
            keys.append(key)
            values.append(value)
            boxes.append(_cell_boxes(rows, margins.memory, config.min_object_pixels))
            query_boxes = _cell_boxes(rows, margins.query, config.min_object_pixels)
            features = QueryFeatures(*(x.unflatten(0, (batch, -1))[:, t - 1] for x in queries))
            readout = read(
                features.key.repeat_interleave(objects, 0),
                torch.stack(keys, 1),
                torch.stack(values, 1),
                query_boxes,
                torch.stack(boxes, 1),
                semantics=config.read,
                scale=config.score_scale,
            )
            probabilities = network.decode(readout, features, query_boxes)
            with torch.autocast(device.type, enabled=False):
                logits.append(soft_aggregate(probabilities))
                estimate = logits[-1].softmax(1)[:, 1:]
            if not through_estimates:
                estimate = estimate.detach()
    return logits


def _channels_last(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)


def _cell_boxes(masks: Tensor, margin: Tensor, min_pixels: int) -> Tensor:
    boxes = mask_boxes(masks, threshold=0.5, min_pixels=min_pixels, margin=margin, lost="frame")
    return pixel_to_cell_boxes(boxes)
