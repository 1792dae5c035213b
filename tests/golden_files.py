"""The golden files, and a segmenter with the weights that they were made with."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import torch

from golden import make_golden_inputs as inputs
from rmnet import RMNetSegmenter
from rmnet.network.rmnet import RMNet
from rmnet.released import RELEASED_CONFIG, from_released

FOLDER = Path(inputs.__file__).parent


def golden(name):
    """Numbers of the released code for one clip."""
    return np.load(FOLDER / f"{name}.npz")


@functools.cache
def released_state():
    """Weights in the released form: {part: {key: tensor}}."""
    return {
        part: {f"module.{k}": torch.from_numpy(v) for k, v in inputs.make_state(part).items()}
        for part in ("rmnet", "tflownet")
    }


def released_segmenter():
    """A segmenter with those weights."""
    network = RMNet(RELEASED_CONFIG)
    network.load_state_dict(from_released(released_state()))
    return RMNetSegmenter(network, device="cpu")
