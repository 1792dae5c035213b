"""One step in time: from what is known of frame t-1 to what the network says of frame t."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rmnet.ablations import best_match_read
from rmnet.config import MAX_PIXELS, STRIDE, LostRegion, RMNetConfig
from rmnet.errors import ConfigError
from rmnet.geometry import (
    Padding,
    backward_warp,
    frame_boxes,
    mask_boxes,
    normalise,
    pixel_to_cell_boxes,
    shift_boxes,
    union_boxes,
)
from rmnet.ops import regional_read
from rmnet.runtime import InferenceNetwork, Workspace
from rmnet.tracking.estimate import Estimate
from rmnet.tracking.memory import MemoryBank

FlowCallable = Callable[[NDArray[np.uint8], NDArray[np.uint8]], Any]
Flow = Literal["none"] | FlowCallable | None


@dataclass(frozen=True, slots=True, eq=False)
class KnownFrame:
    """Frame t-1: its number, its pixels (3, H, W) uint8 at the network's size, its estimate."""

    index: int
    pixels: Tensor
    estimate: Estimate


def propagate(
    network: InferenceNetwork,
    bank: MemoryBank,
    previous: KnownFrame,
    pixels: Tensor,
    *,
    flow: Flow,
    regional: bool,
    workspace: Workspace,
) -> tuple[Tensor, Tensor]:
    """Memorize the previous frame, then find its objects in the next one.

    Nothing but `bank` is changed; after an error the call may be repeated.

    Args:
        network: The weights.
        bank: Past frames; the previous one is written to it.
        previous: With N > 0 objects.
        pixels: (3, H, W) uint8, the next frame at the network's size.
        flow: None for TinyFlowNet, "none" to look around the previous mask, or a function of the
            two frames (next, previous).
        regional: Whether to run encoders and decoder on regions alone.
        workspace: For activations; nothing of it is in use afterwards.

    Returns:
        Probabilities (N, H, W) float32 of each object against background, and where each was
        looked for, (N, 4) int32 px.
    """
    config = network.config
    masks = previous.estimate.at_network_size[1:]
    padding = Padding.to_multiple((masks.shape[1], masks.shape[2]), STRIDE)
    image, previous_image = _image(pixels), _image(previous.pixels)
    # First of all, since a function of the user's own may fail: nothing has been written yet.
    search = _search_boxes(network, masks, (image, previous_image), (pixels, previous.pixels), flow)

    query_boxes = pixel_to_cell_boxes(shift_boxes(search, padding.left, padding.top))
    # Released code: boxes in memory on the padded frame, of the search on the unpadded one.
    padded = padding.add(masks)
    memory_boxes = pixel_to_cell_boxes(_memory_boxes(config, padded))
    with workspace.scope():
        bank.write(
            previous.index,
            *network.encode_memory(
                padding.add(previous_image),
                _remembered(config, padded),
                memory_boxes,
                regional=regional,
            ),
            memory_boxes,
            given=bool(previous.estimate.given),
        )
    del padded
    with workspace.scope():
        seen = network.encode_query(padding.add(image), query_boxes, regional=regional)
        memory = bank.view()
        read = best_match_read if config.search_region == "best_match" else regional_read
        readout = read(
            seen.features.key.expand(len(masks), -1, -1, -1),
            memory.key,
            memory.value,
            query_boxes,
            memory.boxes,
            present=memory.present,
            semantics=config.read,
            scale=config.score_scale,
        )
        decoded = network.decode(readout, seen, query_boxes, regional=regional)
    return padding.remove(decoded), search


def _image(pixels: Tensor) -> Tensor:
    """A frame (3, H, W) uint8 as the network's image (1, 3, H, W)."""
    # Convolutions keep this layout all the way down; faster on the CPU (docs/results.md).
    return normalise(pixels)[None].contiguous(memory_format=torch.channels_last)


def _search_boxes(
    network: InferenceNetwork,
    masks: Tensor,
    images: tuple[Tensor, Tensor],
    pixels: tuple[Tensor, Tensor],
    flow: Flow,
) -> Tensor:
    """Where to look for each object: around its previous mask, moved by the flow."""
    config = network.config
    if config.search_region in ("frame", "best_match"):
        return frame_boxes(masks)
    if flow == "none" or not config.search_uses_flow:
        return _boxes(config, masks, "frame")
    field = network.flow(*images) if flow is None else _call_flow(flow, *pixels)
    boxes = _boxes(config, backward_warp(masks[None], field)[0], "frame")
    if config.search_region == "union":
        boxes = union_boxes(boxes, _boxes(config, masks, "frame"))
    return boxes


def _remembered(config: RMNetConfig, masks: Tensor) -> Tensor:
    """What the memory encoder sees of the objects: probabilities, or what is sure of them."""
    if config.memory_threshold is None:
        return masks
    return (masks >= config.memory_threshold).to(masks.dtype)


def _memory_boxes(config: RMNetConfig, masks: Tensor) -> Tensor:
    """What is remembered of each object: its mask's box, or everything."""
    if config.memory_region == "frame":
        return frame_boxes(masks)
    return _boxes(config, masks, config.lost_memory_region)


def _boxes(config: RMNetConfig, masks: Tensor, lost: LostRegion) -> Tensor:
    return mask_boxes(
        masks,
        threshold=config.mask_threshold,
        min_pixels=config.min_object_pixels,
        margin=config.box_margin,
        lost=lost,
    )


def _call_flow(flow: FlowCallable, pixels: Tensor, previous: Tensor) -> Tensor:
    """The user's own flow, checked: (1, 2, H, W) float32."""
    frames = [x.permute(1, 2, 0).contiguous().cpu().numpy() for x in (pixels, previous)]
    expected = (2, *pixels.shape[1:])
    with torch.autocast(pixels.device.type, enabled=False):  # it is not ours to speed up
        field = flow(*frames)
    if not isinstance(field, np.ndarray | Tensor):
        raise ConfigError(
            f"the flow function returned a {type(field).__name__}; accepted: an array or a tensor "
            f"(2, H, W) = {expected}"
        )
    # An array may be turned around in memory, which torch does not take.
    try:
        field = torch.from_numpy(np.array(field)) if isinstance(field, np.ndarray) else field
    except TypeError as error:  # strings, complex objects, float128
        raise ConfigError(f"the flow function returned {field.dtype}; accepted: floats") from error
    if tuple(field.shape) != expected or not field.is_floating_point():
        raise ConfigError(
            f"the flow function returned {field.dtype} of {tuple(field.shape)}; accepted: floats "
            f"(2, H, W) = {expected}, px from the current frame to the previous one, x first"
        )
    field = field.detach().to(pixels.device, torch.float32)  # 1e300 becomes infinity here
    if not field.isfinite().all():
        raise ConfigError("the flow function returned NaN or infinity; accepted: finite pixels")
    return field.clamp(-MAX_PIXELS, MAX_PIXELS)[None]  # farther is as far, and no number overflows
