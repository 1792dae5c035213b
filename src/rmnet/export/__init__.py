"""Results in the formats of other tools."""

from rmnet.export.run_lengths import encode_rle

__all__ = ["encode_rle"]
