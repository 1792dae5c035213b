"""The golden files, and a segmenter with the weights used to make them."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import numpy as np

from golden import make_golden_inputs as inputs
from rmnet import RMNetSegmenter

FOLDER = Path(inputs.__file__).parent


def golden(name):
    """Load the released code's numbers for one clip."""
    return np.load(FOLDER / f"{name}.npz")


@functools.cache
def released_segmenter():
    """Load the golden weights from a file in the format that the paper's authors released."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "released.pth"
        inputs.save_checkpoint(path)
        return RMNetSegmenter.from_pretrained(path, device="cpu")
