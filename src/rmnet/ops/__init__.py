"""Operators of the library, and the only place that names a native one."""

from rmnet.ops.conv3x3 import conv3x3, conv3x3_obstacle, fits
from rmnet.ops.extension import BINARIES
from rmnet.ops.inverted_residual import (
    PackedBlock,
    inverted_residual,
    inverted_residual_obstacle,
    pack,
)
from rmnet.ops.regional_read import regional_read, regional_read_obstacle

__all__ = [
    "BINARIES",
    "PackedBlock",
    "conv3x3",
    "conv3x3_obstacle",
    "fits",
    "inverted_residual",
    "inverted_residual_obstacle",
    "pack",
    "regional_read",
    "regional_read_obstacle",
]
