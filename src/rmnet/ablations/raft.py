"""RAFT from torchvision, as a `flow=` in the place of TinyFlowNet."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from rmnet.errors import ConfigError, WeightsError, WeightsNotFoundError

RaftSize = Literal["large", "small"]
# (current, previous) frame (H, W, 3) uint8 RGB to (2, H, W) px float32, x first.
FlowFunction = Callable[[NDArray[np.uint8], NDArray[np.uint8]], Tensor]

RAFT_STRIDE = 8  # px a feature; it takes sizes that 8 divides
RAFT_MIN_SIDE = 128  # px; the coarsest of its four correlation levels needs 2 x 2 features


def raft_flow(
    weights: str | Path = "C_T_V2",
    *,
    size: RaftSize = "large",
    updates: int = 12,
    device: str | torch.device = "cpu",
) -> FlowFunction:
    """A flow function for `track`, `stream` and `start`.

    Source: Teed and Deng, RAFT, ECCV 2020; the network is torchvision's.

    Args:
        weights: File of a state dict of torchvision's RAFT; or the name of weights that
            torchvision downloads once. "C_T_V2" was trained on FlyingChairs and FlyingThings; the
            paper's table 7 has FlyingChairs alone, which torchvision does not offer.
        size: Which of the two networks.
        updates: Refinements of each flow. torchvision: 12.
        device: Where it runs.

    Example:
        >>> segmenter.track("dog.mp4", "dog.png", flow=raft_flow())  # doctest: +SKIP

    Raises:
        ConfigError: another size, or no number of updates.
        WeightsNotFoundError: no such file or name, or it cannot be downloaded.
        WeightsError: the file is no state dict of this network.
    """
    if size not in get_args(RaftSize):
        raise ConfigError(f"size is {size!r}; accepted: 'large', 'small'")
    if isinstance(updates, bool) or not isinstance(updates, int) or updates < 1:
        raise ConfigError(f"updates is {updates!r}; accepted: an integer of at least 1")
    network = _load(weights, size).to(device).eval().requires_grad_(False)

    @torch.inference_mode()
    def flow(current: NDArray[np.uint8], previous: NDArray[np.uint8]) -> Tensor:
        height, width = current.shape[:2]
        images = [_image(frame).to(device) for frame in (current, previous)]
        field = network(*images, num_flow_updates=updates)[-1]
        return field[0, :, :height, :width].float()

    return flow


def _image(frame: NDArray[np.uint8]) -> Tensor:
    """A frame as RAFT takes it: (1, 3, H', W') in [-1, 1], the last row and column repeated."""
    image = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None].float()
    right, below = (
        max(RAFT_MIN_SIDE, -(-side // RAFT_STRIDE) * RAFT_STRIDE) - side
        for side in (frame.shape[1], frame.shape[0])
    )
    return F.pad(image / 127.5 - 1, (0, right, 0, below), mode="replicate")


def _load(weights: str | Path, size: RaftSize) -> nn.Module:
    from torchvision.models import optical_flow

    make, offered = {
        "large": (optical_flow.raft_large, optical_flow.Raft_Large_Weights),
        "small": (optical_flow.raft_small, optical_flow.Raft_Small_Weights),
    }[size]
    state = _downloaded(offered, str(weights)) if weights in offered.__members__ else None
    state = _read(Path(weights), tuple(offered.__members__)) if state is None else state
    network = make(weights=None, progress=False)
    try:
        network.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{str(weights)!r} is no state dict of torchvision's raft_{size}: "
            f"{str(error).splitlines()[0]} Write size={'small' if size == 'large' else 'large'!r} "
            "for those of the other one"
        ) from error
    return network


def _downloaded(offered: Any, name: str) -> Mapping[str, Any]:  # noqa: ANN401 one of two enums
    try:
        return offered[name].get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:  # no network, no room; RuntimeError: a wrong hash
        raise WeightsNotFoundError(
            f"torchvision could not download {name}: {error}. Without network, write the path of "
            f"a file that was downloaded elsewhere: {offered[name].url}"
        ) from error


def _read(path: Path, names: tuple[str, ...]) -> Mapping[str, Any]:
    if not path.is_file():
        raise WeightsNotFoundError(
            f"there is no file {str(path)!r}; accepted: a state dict's, or one of "
            f"{', '.join(names)}, which torchvision downloads"
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise WeightsError(
            f"{str(path)!r} cannot be read as a state dict: {str(error).splitlines()[0]}"
        ) from error
