"""One step in time: from what is known of frame t-1 to what the network finds in frame t."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rmnet.config import MAX_PIXELS, STRIDE, LostRegion, RMNetConfig
from rmnet.errors import ConfigError, FrameError
from rmnet.geometry import (
    Padding,
    backward_warp,
    frame_boxes,
    mask_boxes,
    network_size,
    normalise,
    pixel_to_cell_boxes,
    resize,
    shift_boxes,
    union_boxes,
)
from rmnet.options import Flow, FlowFunction
from rmnet.runtime import Executor
from rmnet.tracking.estimate import Estimate
from rmnet.tracking.last_frame import LastFrame
from rmnet.tracking.memory import MemoryBank
from rmnet.tracking.state import SessionState


def to_network_size(
    frame: NDArray[np.uint8], shorter_side: int | None, device: torch.device
) -> Tensor:
    """Return a frame (H, W, 3) as (3, h, w) uint8 on the device, at the network's size."""
    size = network_size(frame.shape[0], frame.shape[1], shorter_side)
    # A copy: torch refuses read-only and negatively strided arrays.
    planes = torch.from_numpy(np.array(frame)).to(device).permute(2, 0, 1)
    if size == frame.shape[:2]:
        return planes.contiguous()
    return resize(planes[None].float(), size)[0].round().clamp(0, 255).to(torch.uint8)


def checked_size(frame: NDArray[np.uint8], state: SessionState) -> tuple[int, int]:
    """Return height and width of the next frame, or raise a FrameError if they change."""
    size = frame.shape[0], frame.shape[1]
    if state.last is not None and size != state.last.video_size:
        raise FrameError(
            f"frame {state.next_index} is {size} (height, width) after frames of "
            f"{state.last.video_size}; accepted: one size a video. Resize the frame, or start() "
            "another session"
        )
    return size


def next_frame(
    executor: Executor, state: SessionState, pixels: NDArray[np.uint8], seconds: float | None
) -> LastFrame:
    """Return what the network finds in the next frame (H, W, 3); only the bank is changed."""
    small = to_network_size(pixels, state.options.shorter_side, executor.device)
    estimate = Estimate.empty((small.shape[1], small.shape[2]), small.device)
    regions = {}
    if state.last is not None and state.object_ids:
        predicted, searched = propagate(
            executor, state.bank, state.last, small, flow=state.options.flow
        )
        # Contiguous, as it comes from a file: the memory layout may decide a last bit.
        estimate = Estimate(state.object_ids, predicted.contiguous())
        regions = dict(zip(state.object_ids, searched.tolist(), strict=True))
    size = pixels.shape[0], pixels.shape[1]
    return LastFrame(state.next_index, small, size, estimate, regions, seconds)


def propagate(
    executor: Executor, bank: MemoryBank, previous: LastFrame, pixels: Tensor, *, flow: Flow
) -> tuple[Tensor, Tensor]:
    """Memorise the previous frame, then find its objects in the next one.

    Only `bank` is changed. After an error the call may be repeated.

    Args:
        executor: The network on its device.
        bank: Past frames; the previous one is written to it.
        previous: Frame t-1, with N > 0 objects.
        pixels: Frame t, (3, h, w) uint8 at the network's size.
        flow: See `TrackingOptions`.

    Returns:
        Probabilities (N, h, w) float32 of each object against background, and the box (N, 4) int32
        in which each was searched, in pixels.
    """
    config = executor.config
    masks = previous.estimate.at_network_size[1:]
    padding = Padding.to_multiple((masks.shape[1], masks.shape[2]), STRIDE)
    image, previous_image = _image(pixels), _image(previous.pixels)
    with _precision(executor), executor.activations():
        # First, because a flow function may fail: nothing has been written yet.
        search = search_boxes(
            executor, masks, (image, previous_image), (pixels, previous.pixels), flow
        )
        query_boxes = pixel_to_cell_boxes(shift_boxes(search, padding.left, padding.top))
        # Released code: memory boxes on the padded frame, search boxes on the unpadded one.
        padded = padding.add(masks)
        remembered = frame_boxes(padded)
        if config.memory_region == "mask":
            remembered = _boxes(config, padded, config.lost_memory_region)
        memory_boxes = pixel_to_cell_boxes(remembered)
        if config.memory_threshold is not None:
            padded = (padded >= config.memory_threshold).to(padded.dtype)
        key, value = executor.encode_memory(padding.add(previous_image), padded, memory_boxes)
        given = previous.estimate.given is not None
        bank.write(previous.index, key, value, memory_boxes, given=given)
        del key, value, padded
    with _precision(executor), executor.activations():
        query = executor.encode_query(padding.add(image), query_boxes)
        readout = executor.read(query, bank.view(), query_boxes)
        probabilities = executor.decode(readout, query, query_boxes)
    return padding.remove(probabilities), search


def _precision(executor: Executor) -> torch.autocast:
    # Entered for float32 too, to keep a caller's autocast out.
    is_reduced = executor.dtype != torch.float32
    return torch.autocast(executor.device.type, dtype=executor.dtype, enabled=is_reduced)


def _image(pixels: Tensor) -> Tensor:
    """Return a frame (3, h, w) uint8 as an image (1, 3, h, w) float32."""
    # Convolutions keep this memory format throughout, and are faster with it.
    return normalise(pixels)[None].contiguous(memory_format=torch.channels_last)


def search_boxes(
    executor: Executor,
    masks: Tensor,
    images: tuple[Tensor, Tensor],
    pixels: tuple[Tensor, Tensor],
    flow: Flow,
) -> Tensor:
    """Return the box (N, 4) to search for each object. Paper: its previous mask, moved by flow."""
    config = executor.config
    if config.search_region in ("frame", "best_match"):
        return frame_boxes(masks)
    if flow == "none" or not config.search_uses_flow:
        return _boxes(config, masks, "frame")
    field = executor.flow(*images) if flow is None else _call_flow(flow, *pixels)
    boxes = _boxes(config, backward_warp(masks[None], field)[0], "frame")
    if config.search_region == "union":
        boxes = union_boxes(boxes, _boxes(config, masks, "frame"))
    return boxes


def _boxes(config: RMNetConfig, masks: Tensor, lost: LostRegion) -> Tensor:
    return mask_boxes(
        masks,
        threshold=config.mask_threshold,
        min_pixels=config.min_object_pixels,
        margin=config.box_margin,
        lost=lost,
    )


def _call_flow(flow: FlowFunction, pixels: Tensor, previous: Tensor) -> Tensor:
    """Call a user's flow function and check its answer: (1, 2, h, w) float32."""
    frames = [x.permute(1, 2, 0).contiguous().cpu().numpy() for x in (pixels, previous)]
    expected = (2, *pixels.shape[1:])
    with torch.autocast(pixels.device.type, enabled=False):  # its precision is its own business
        field = flow(*frames)
    if isinstance(field, np.ndarray) and field.dtype.kind == "f":
        # A copy: torch refuses negative strides.
        field = torch.from_numpy(field.astype(np.float64))
    if (
        not isinstance(field, Tensor)
        or tuple(field.shape) != expected
        or not field.is_floating_point()
    ):
        came = f"a {type(field).__name__}"
        if isinstance(field, np.ndarray | Tensor):
            came = f"{field.dtype} {tuple(field.shape)}"
        raise ConfigError(
            f"the flow function returned {came}; accepted: floats (2, H, W) = {expected}, in "
            "pixels from the current frame to the previous one, x first"
        )
    field = field.detach().to(pixels.device, torch.float32)
    if not field.isfinite().all():
        raise ConfigError("the flow function returned NaN or infinity; accepted: finite pixels")
    return field.clamp(-MAX_PIXELS, MAX_PIXELS)[None]  # beyond any frame, and no overflow
