"""A training clip through the library's network, and what is wrong with the result."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from layers import Clip
from rmnet.aggregation import soft_aggregate
from rmnet.image import normalise
from rmnet.network.decoder import ResidualBlock
from rmnet.network.rmnet import QueryFeatures, RMNet
from rmnet.ops import regional_read
from rmnet.regions import mask_boxes, pixel_to_cell_boxes

WHOLE_FRAME = 1 << 14  # px; a margin that reaches every border


def initialise(network: RMNet) -> None:
    """Start every residual block near the identity: training from random weights needs it."""
    for module in network.modules():
        if isinstance(module, BasicBlock):
            nn.init.zeros_(module.bn2.weight)
        elif isinstance(module, Bottleneck):
            nn.init.zeros_(module.bn3.weight)
        elif isinstance(module, ResidualBlock):
            with torch.no_grad():
                module.conv2.weight.mul_(0.1)
            nn.init.zeros_(module.conv2.bias)


@dataclass(frozen=True)
class Margins:
    """Pixels added around boxes, (n,) int64 each."""

    query: Tensor
    memory: Tensor


def random_margins(rng: np.random.Generator, num_rows: int) -> Margins:
    """Draw margins; 30 % of the rows get the whole frame, so that both ways of reading work."""
    whole = torch.from_numpy(rng.random(num_rows) < 0.3)
    query = torch.from_numpy(rng.integers(24, 65, num_rows))
    memory = torch.from_numpy(rng.integers(16, 49, num_rows))
    full = torch.tensor(WHOLE_FRAME)
    return Margins(torch.where(whole, full, query), torch.where(whole, full, memory))


def unroll(network: RMNet, clips: Clip, margins: Margins, *, bfloat16: bool) -> list[Tensor]:
    """Segment frames 1.. of B clips from the masks of frame 0.

    Each frame is searched around the previous frame's *estimated* masks and every earlier frame
    is remembered with its estimate, as in use. No gradient flows through an estimate.

    Args:
        network: In training mode.
        clips: With a leading batch axis.
        margins: For each of the B*N rows.
        bfloat16: Whether the convolutions run in bfloat16.

    Returns:
        T-1 logits (B, N+1, H, W) float32.
    """
    config = network.config
    batch, frames, objects = clips.masks.shape[:3]
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=bfloat16)
    images = normalise(clips.frames)
    with autocast:
        queries = network.encode_query(_channels_last(images[:, 1:].flatten(0, 1)))
    estimate = clips.masks[:, 0]
    keys: list[Tensor] = []
    values: list[Tensor] = []
    boxes: list[Tensor] = []
    logits: list[Tensor] = []
    for t in range(1, frames):
        rows = estimate.flatten(0, 1)
        with autocast:
            key, value = network.encode_memory(_channels_last(images[:, t - 1]), estimate)
        keys.append(key)
        values.append(value)
        boxes.append(_cell_boxes(rows, margins.memory, config.min_object_pixels))
        query_boxes = _cell_boxes(rows, margins.query, config.min_object_pixels)
        features = QueryFeatures(*(x.unflatten(0, (batch, -1))[:, t - 1] for x in queries))
        readout = regional_read(
            features.key.repeat_interleave(objects, 0),
            torch.stack(keys, 1),
            torch.stack(values, 1),
            query_boxes,
            torch.stack(boxes, 1),
            semantics=config.read,
            scale=config.score_scale,
        )
        with autocast:
            probabilities = network.decode(readout, features, query_boxes)
        logits.append(soft_aggregate(probabilities))
        estimate = logits[-1].detach().softmax(1)[:, 1:]
    return logits


def _channels_last(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)


def _cell_boxes(masks: Tensor, margin: Tensor, min_pixels: int) -> Tensor:
    boxes = mask_boxes(
        masks, threshold=0.5, min_pixels=min_pixels, margin=margin, lost="frame"
    )  # fmt: skip
    return pixel_to_cell_boxes(boxes)


def segmentation_loss(logits: list[Tensor], masks: Tensor, *, hardest: float) -> Tensor:
    """Cross-entropy over the hardest pixels + 0.5 soft Jaccard loss, mean over the frames.

    Args:
        logits: Of frames 1.., (B, N+1, H, W) each.
        masks: (B, T, N, H, W) in [0, 1].
        hardest: Part of each frame's pixels in the cross-entropy.
    """
    total = logits[0].new_zeros(())
    for of_frame, truth in zip(logits, masks[:, 1:].unbind(1), strict=True):
        background = (1 - truth.sum(1, keepdim=True)).clamp(0, 1)
        log_probabilities = of_frame.log_softmax(1)
        entropy = -(torch.cat([background, truth], 1) * log_probabilities).sum(1).flatten(1)
        if hardest < 1:
            entropy = entropy.topk(int(entropy.shape[1] * hardest), 1, sorted=False).values
        found = log_probabilities[:, 1:].exp().flatten(2)
        wanted = truth.flatten(2)
        both = (found * wanted).sum(2)
        either = (found + wanted).sum(2) - both
        total = total + entropy.mean() + 0.5 * (1 - (both + 1) / (either + 1)).mean()
    return total / len(logits)


@torch.no_grad()
def last_jaccard(logits: list[Tensor], masks: Tensor) -> float:
    """Mean J of the last frame's masks; what is seen of nothing, found as nothing, counts 1."""
    found = logits[-1].argmax(1, keepdim=True) == torch.arange(1, logits[-1].shape[1]).view(
        -1, 1, 1
    )
    wanted = masks[:, -1] > 0.5
    both, either = (found & wanted).sum((2, 3)), (found | wanted).sum((2, 3))
    return float(((both + 1e-3) / (either + 1e-3)).mean())
