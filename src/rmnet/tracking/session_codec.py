"""The state of a session as JSON and tensors, and back, with every number checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from rmnet.config import STRIDE, RMNetConfig
from rmnet.geometry import Padding, network_size
from rmnet.options import MemoryPolicy, TrackingOptions
from rmnet.runtime import MemoryView
from rmnet.tracking.estimate import Estimate, Given
from rmnet.tracking.memory import MemoryBank, Slot
from rmnet.tracking.state import Box, LastFrame, SessionState

FLOW_NAMES = ("tiny", "none", "function")  # a user's function is in no file
_FIELDS = {
    "shorter_side", "every", "max_frames", "flow", "regional", "keep_probabilities", "next_index",
    "slots", "last",
}  # fmt: skip
_LAST_FIELDS = {"index", "video_size", "object_ids", "given_ids", "regions", "seconds"}
_LARGEST_ID = 2**31 - 1
_LARGEST_INDEX = 2**53  # of a frame
_MAX_PIXELS = 2**28  # of a frame


def to_json(state: SessionState) -> dict[str, Any]:
    """Return everything but the tensors."""
    options, last = state.options, state.last
    flow = options.flow
    return {
        "shorter_side": options.shorter_side,
        "every": options.memory.every,
        "max_frames": options.memory.max_frames,
        "flow": "function" if callable(flow) else "tiny" if flow is None else flow,
        "regional": options.regional,
        "keep_probabilities": options.keep_probabilities,
        "next_index": state.next_index,
        "slots": [[slot.frame, slot.keep, slot.pinned] for slot in state.bank.slots],
        "last": last
        and {
            "index": last.index,
            "video_size": last.video_size,
            "object_ids": last.estimate.object_ids,
            "given_ids": last.estimate.given and last.estimate.given.object_ids,
            "regions": [[i, *box] for i, box in last.regions.items()],
            "seconds": None if last.seconds is None else float(last.seconds),
        },
    }


def to_tensors(state: SessionState) -> dict[str, Tensor]:
    """Return the tensors by name."""
    tensors: dict[str, Tensor] = {}
    if state.bank.slots:
        tensors |= {f"memory.{name}": x for name, x in state.bank.view()._asdict().items()}
    if state.last is not None:
        estimate = state.last.estimate
        tensors |= {"last.pixels": state.last.pixels, "last.predicted": estimate.predicted}
        if estimate.given is not None:
            tensors |= {"given.masks": estimate.given.masks, "given.void": estimate.given.void}
    return tensors


def from_json(
    header: Mapping[str, Any],
    tensors: dict[str, Tensor],
    config: RMNetConfig,
    dtype: torch.dtype,
    device: torch.device,
) -> SessionState:
    """Build a state, its `flow` left at the default; `tensors` are taken out one by one.

    Raises:
        ValueError, ConfigError: a field is missing, unknown, out of range, or contradicts another.
    """
    _require(header.keys() == _FIELDS, f"its fields are {sorted(header)}")
    _require(header["flow"] in FLOW_NAMES, "flow")
    side = header["shorter_side"]
    options = TrackingOptions(
        size="native" if side is None else side,
        memory=MemoryPolicy(header["every"], header["max_frames"]),
        regional=header["regional"],
        keep_probabilities=header["keep_probabilities"],
    )
    next_index = _integer(header["next_index"], 0, _LARGEST_INDEX)
    if header["last"] is None:
        _require(not header["slots"] and not tensors, "memory without a frame")
        return SessionState(options, MemoryBank(options.memory), next_index)

    fields = header["last"]
    _require(fields.keys() == _LAST_FIELDS, f"its last frame's fields are {sorted(fields)}")
    index = _integer(fields["index"], 0, next_index - 1)  # frames after it were skipped
    height, width = (_integer(x, 1, _MAX_PIXELS) for x in fields["video_size"])
    _require(height * width <= _MAX_PIXELS, f"frames of {height} by {width} pixels")
    size, ids = network_size(height, width, options.shorter_side), _ids(fields["object_ids"])
    pixels = _take(tensors, "last.pixels", torch.uint8, (3, *size))
    predicted = _take(tensors, "last.predicted", torch.float32, (len(ids), *size))
    given = None
    if fields["given_ids"] is not None:
        given_ids = _ids(fields["given_ids"])
        _require(bool(given_ids) and {*given_ids} <= {*ids}, "ids of given masks")
        shape = (len(given_ids), height, width)
        masks, void = (_take(tensors, f"given.{x}", torch.bool, shape) for x in ("masks", "void"))
        given = Given(given_ids, masks, void)
    regions: dict[int, Box] = {}
    for row in fields["regions"]:
        object_id, x0, y0, x1, y1 = (_integer(x, 0, _LARGEST_ID) for x in row)
        regions[object_id] = x0, y0, x1, y1
    seconds = fields["seconds"]
    _require(seconds is None or isinstance(seconds, float), "seconds")

    bank = MemoryBank(options.memory)
    if header["slots"]:
        slots = [_slot(row, index) for row in header["slots"]]
        bound = options.memory.max_frames or len(slots)
        _require(len({slot.frame for slot in slots}) == len(slots) <= bound, "frames in memory")
        view = _memory(tensors, (len(ids), len(slots)), size, config, dtype)
        bank = MemoryBank.restore(options.memory, slots, MemoryView(*(x.to(device) for x in view)))
    _require(not tensors, f"unknown tensors {sorted(tensors)}")
    estimate = Estimate(ids, predicted.to(device), given)
    last = LastFrame(index, pixels.to(device), (height, width), estimate, regions, seconds)
    return SessionState(options, bank, next_index, last)


def _memory(
    tensors: dict[str, Tensor],
    held: tuple[int, int],
    size: tuple[int, int],
    config: RMNetConfig,
    dtype: torch.dtype,
) -> MemoryView:
    """Take the memory's tensors, for `held` objects and frames of `size` inside the network."""
    padding = Padding.to_multiple(size, STRIDE)
    h = (size[0] + padding.top + padding.bottom) // STRIDE
    w = (size[1] + padding.left + padding.right) // STRIDE
    view = MemoryView(
        key=_take(tensors, "memory.key", dtype, (*held, h, w, config.key_width)),
        value=_take(tensors, "memory.value", dtype, (*held, h, w, config.value_width)),
        boxes=_take(tensors, "memory.boxes", torch.int32, (*held, 4)),
        present=_take(tensors, "memory.present", torch.bool, held),
    )
    limits = torch.tensor((w, h, w, h))
    _require(bool(((view.boxes >= 0) & (view.boxes <= limits)).all()), "regions in memory")
    return view


def _take(
    tensors: dict[str, Tensor], name: str, dtype: torch.dtype, shape: tuple[int, ...]
) -> Tensor:
    tensor = tensors.pop(name)
    _require(
        tensor.dtype == dtype and tensor.shape == shape,
        f"{name} is {tensor.dtype} {tuple(tensor.shape)}, not {dtype} {shape}",
    )
    return tensor


def _slot(row: Any, last_index: int) -> Slot:  # noqa: ANN401 any JSON
    frame, keep, pinned = row
    _require(isinstance(keep, bool) and isinstance(pinned, bool), "frames in memory")
    return Slot(_integer(frame, 0, last_index), keep=keep, pinned=pinned)


def _ids(value: Any) -> tuple[int, ...]:  # noqa: ANN401 any JSON
    ids = tuple(_integer(i, 1, _LARGEST_ID) for i in value)
    _require(len(set(ids)) == len(ids), "an id that comes twice")
    return ids


def _integer(value: object, lowest: int, highest: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        raise ValueError(f"{value!r:.40} is not an integer from {lowest} to {highest}")
    return value


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(what)
