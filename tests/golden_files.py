"""The golden files, and a segmenter with the weights that they were made with."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import numpy as np

from golden import make_golden_inputs as inputs
from rmnet import RMNetSegmenter

FOLDER = Path(inputs.__file__).parent


def golden(name):
    """Numbers of the released code for one clip."""
    return np.load(FOLDER / f"{name}.npz")


@functools.cache
def released_segmenter():
    """A segmenter of the golden weights, from a file as the paper's authors release theirs."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "released.pth"
        inputs.save_checkpoint(path)
        return RMNetSegmenter.from_pretrained(path, device="cpu")
