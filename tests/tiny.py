"""A network small enough for tests, with random weights, and clips for it."""

from __future__ import annotations

import numpy as np
import torch

from rmnet import RMNetConfig, RMNetSegmenter
from rmnet.network.rmnet import RMNet

CONFIG = RMNetConfig(
    backbone="resnet18",
    stem_width=8,
    stage_widths=(8, 12, 16),
    stage_depths=(1, 1, 1),
    key_width=8,
    value_width=12,
    decoder_widths=(12, 8, 8),
    flow_widths=(4, 4, 8, 8, 8),
    box_margin=16,
    size=64,
)


def network(config: RMNetConfig = CONFIG, seed: int = 0) -> RMNet:
    """Return a network with random weights, determined by the seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return RMNet(config)


def segmenter(config: RMNetConfig = CONFIG, seed: int = 0) -> RMNetSegmenter:
    """Return a segmenter with random weights."""
    return RMNetSegmenter(network(config, seed), device="cpu")


def clip(num_frames: int = 6, size: tuple[int, int] = (64, 96), seed: int = 0):
    """Return frames (T, H, W, 3) uint8 of drifting noise and labels of frame 0: objects 3 and 7."""
    rng = np.random.default_rng(seed)
    height, width = size
    picture = rng.integers(0, 256, (height, width + num_frames, 3), dtype=np.uint8)
    frames = np.stack([picture[:, t : t + width] for t in range(num_frames)])
    labels = np.zeros(size, dtype=np.int32)
    labels[height // 8 : height // 2, width // 8 : width // 3] = 3
    labels[height // 3 : height - 4, width // 2 : width - 8] = 7
    return frames, labels
