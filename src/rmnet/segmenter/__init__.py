"""The segmenter: weights, and the calls that track with them."""

from rmnet.segmenter.segmenter import RMNetSegmenter

__all__ = ["RMNetSegmenter"]
