"""How far a crop's edge is felt, so that a part of a frame can be encoded exactly.

A convolution at the edge of a crop sees zeros where the frame goes on, so its outermost results
are wrong, and every convolution after it carries that further in. What is left further inside
equals what the whole frame would give.
"""

from __future__ import annotations

from rmnet.config import RMNetConfig

# Convolutions of 3x3 in a block; those of 1x1 carry nothing. Source: torchvision's ResNets.
_CONVOLUTIONS = {"resnet18": 2, "resnet50": 1}
_STEM = 2  # 7x7, stride 2, padding 3: two results on each side


def encoder_halo(config: RMNetConfig) -> int:
    """Outer cells of f16 that the edge of a cropped image makes wrong."""
    edge = _strided(_STEM)  # the pooling
    depth4, depth8, depth16 = (
        depth * _CONVOLUTIONS[config.backbone] for depth in config.stage_depths
    )
    edge += depth4
    edge = _strided(edge) + depth8 - 1
    return _strided(edge) + depth16 - 1


def last_stage_halo(config: RMNetConfig) -> int:
    """Outer cells of f16 that the edge of a cropped f8 makes wrong."""
    return _strided(0) + config.stage_depths[-1] * _CONVOLUTIONS[config.backbone] - 1


def _strided(edge: int) -> int:
    """Wrong results of a 3x3 of stride 2, padding 1, where the first `edge` it sees are wrong.

    Result i sees 2i - 1 to 2i + 1, and is wrong if 2i - 1 < edge.
    """
    return edge // 2 + 1
