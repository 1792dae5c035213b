"""How far a crop's edge is felt, so that a part of a frame can be encoded exactly.

A convolution at the edge of a crop sees zeros where the frame goes on, so its outermost results
are wrong, and every convolution after it carries that further in. What is left further inside
equals what the whole frame would give.
"""

from __future__ import annotations

from typing import cast

from torch import nn

from rmnet.network import BasicBlock, Bottleneck, Encoder, InvertedResidual, MemoryEncoder


def encoder_halo(encoder: Encoder) -> int:
    """Return how many outer cells of f16 the edge of a cropped image makes wrong."""
    edge = wrong_results(encoder.stem, 0)
    if isinstance(encoder, MemoryEncoder):  # both mask stems have one shape
        edge = max(edge, wrong_results(encoder.mask_stem, 0))
    for part in (encoder.stem_activation, encoder.stage4, encoder.stage8, encoder.stage16):
        edge = wrong_results(part, edge)
    return edge


def wrong_results(layer: nn.Module, edge: int) -> int:
    """Return how many outer results of a layer are wrong.

    Args:
        layer: A convolution, a pooling, a block, or several in a row; any other layer is taken to
            work on each position by itself.
        edge: Number of outer rows and columns of its input that are wrong; 0 if the input merely
            ends there.
    """
    if isinstance(layer, BasicBlock | Bottleneck | InvertedResidual):
        # A shortcut reaches no further: it works on each position by itself.
        for conv, _ in layer.main_path():
            edge = wrong_results(conv, edge)
        return edge
    if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
        stride, padding = (_side(x) for x in (layer.stride, layer.padding))
        reach = _side(layer.dilation) * (_side(layer.kernel_size) - 1)
        # Result i sees inputs i * stride - padding to that + reach. At the near side those below
        # `edge` are wrong, at the far side those from the size - edge on.
        near = -(-(edge + padding) // stride)
        far = (edge + reach - padding) // stride
        return max(near, far)
    for part in layer.children():
        edge = wrong_results(part, edge)
    return edge


def _side(size: int | str | tuple[int, ...]) -> int:
    """Return a setting of a layer, which is the same in both directions."""
    return size if isinstance(size, int) else cast("tuple[int, ...]", size)[0]
