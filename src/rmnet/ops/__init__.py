"""The operators, and the only place that names a native one.

`regional_read` chooses between native code and PyTorch itself. `conv3x3` and `inverted_residual`
are native only: their callers ask `..._obstacle` first. RMNET_BACKEND forces either.
"""

from rmnet.ops.conv3x3 import conv3x3, conv3x3_obstacle, fits_conv3x3
from rmnet.ops.extension import BINARIES, problem
from rmnet.ops.inverted_residual import (
    PackedBlock,
    inverted_residual,
    inverted_residual_obstacle,
    pack,
)
from rmnet.ops.read_pytorch import regional_read_pytorch
from rmnet.ops.regional_read import regional_read, regional_read_native, regional_read_obstacle

__all__ = [
    "BINARIES",
    "PackedBlock",
    "conv3x3",
    "conv3x3_obstacle",
    "fits_conv3x3",
    "inverted_residual",
    "inverted_residual_obstacle",
    "pack",
    "problem",
    "regional_read",
    "regional_read_native",
    "regional_read_obstacle",
    "regional_read_pytorch",
]
