"""RAFT from torchvision, as a `flow=` instead of TinyFlowNet."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from rmnet.errors import ConfigError, WeightsError, WeightsNotFoundError

_STRIDE = 8  # px a feature; RAFT takes sizes that 8 divides
_MIN_SIDE = 128  # px; the coarsest of its four correlation levels needs 2 x 2 features


def raft_flow(
    weights: str | Path = "C_T_V2",
    *,
    size: Literal["large", "small"] = "large",
    updates: int = 12,
    device: str | torch.device = "cpu",
) -> Callable[[NDArray[np.uint8], NDArray[np.uint8]], Tensor]:
    """Make a flow function for `track`, `stream` and `start`.

    Source: Teed and Deng, RAFT, ECCV 2020; the network is torchvision's.

    Args:
        weights: File of a state dict of torchvision's RAFT, or the name of weights that
            torchvision downloads once. "C_T_V2" was trained on FlyingChairs and FlyingThings; the
            paper's table 7 uses FlyingChairs alone, which torchvision does not offer.
        size: Which of the two networks.
        updates: Number of refinements of each flow, at least 1. torchvision: 12.
        device: Device to run on.

    Returns:
        A function from the current and the previous frame, (H, W, 3) uint8 RGB, to the flow
        (2, H, W) float32 px, x first.

    Raises:
        ConfigError: another size, or a number of updates below 1.
        WeightsNotFoundError: no such file or name, or it cannot be downloaded.
        WeightsError: the file is not a state dict of this network.

    Example:
        >>> segmenter.track("dog.mp4", "dog.png", flow=raft_flow())  # doctest: +SKIP
    """
    from torchvision.models import optical_flow

    if size not in ("large", "small"):
        raise ConfigError(f"size is {size!r}; accepted: 'large', 'small'")
    if isinstance(updates, bool) or not isinstance(updates, int) or updates < 1:
        raise ConfigError(f"updates is {updates!r}; accepted: an integer of at least 1")
    is_large = size == "large"
    offered = optical_flow.Raft_Large_Weights if is_large else optical_flow.Raft_Small_Weights
    state = _state_dict(weights, offered.__members__)
    make = optical_flow.raft_large if is_large else optical_flow.raft_small
    network = make(weights=None, progress=False)
    try:
        network.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{str(weights)!r} is no state dict of torchvision's raft_{size}: "
            f"{str(error).splitlines()[0]} Write size={'small' if is_large else 'large'!r}, if it "
            "is one of the other network"
        ) from error
    network = network.to(device).eval().requires_grad_(False)

    @torch.inference_mode()
    def flow(current: NDArray[np.uint8], previous: NDArray[np.uint8]) -> Tensor:
        height, width = current.shape[:2]
        images = [_image(frame).to(device) for frame in (current, previous)]
        field = network(*images, num_flow_updates=updates)[-1]
        return field[0, :, :height, :width].float()

    return flow


def _image(frame: NDArray[np.uint8]) -> Tensor:
    """Return a frame as RAFT takes it: (1, 3, H', W') in [-1, 1], padded by its edge."""
    image = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None].float()
    below, right = (max(_MIN_SIDE, side + -side % _STRIDE) - side for side in frame.shape[:2])
    return F.pad(image / 127.5 - 1, (0, right, 0, below), mode="replicate")


def _state_dict(weights: str | Path, offered: Mapping[str, Any]) -> Mapping[str, Any]:
    """Download one of the offered weights, or read a file."""
    if str(weights) in offered:
        chosen = offered[str(weights)]
        try:
            return chosen.get_state_dict(progress=False, check_hash=True)
        except (OSError, RuntimeError) as error:  # no network, no room; RuntimeError: a wrong hash
            raise WeightsNotFoundError(
                f"torchvision could not download {weights}: {error}. Without network, write the "
                f"path of a file that was downloaded elsewhere: {chosen.url}"
            ) from error
    if not Path(weights).is_file():
        raise WeightsNotFoundError(
            f"there is no file {str(weights)!r}; accepted: a file of a state dict, or one of "
            f"{', '.join(offered)}, which torchvision downloads"
        )
    try:
        return torch.load(weights, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise WeightsError(
            f"{str(weights)!r} cannot be read as a state dict: {str(error).splitlines()[0]}"
        ) from error
