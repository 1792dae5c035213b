"""The state of a session as JSON and tensors, and back, with every number checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rmnet.config import STRIDE, RMNetConfig
from rmnet.geometry import Padding, network_size
from rmnet.options import MemoryPolicy, TrackingOptions
from rmnet.runtime import MemoryView
from rmnet.tracking.estimate import Estimate, Given
from rmnet.tracking.history import History
from rmnet.tracking.last_frame import Box, LastFrame
from rmnet.tracking.memory import FREE, MemoryBank, Slot
from rmnet.tracking.past_frame import PastFrame
from rmnet.tracking.state import SessionState

FLOW_NAMES = ("tiny", "none", "function")  # a user's function is in no file
_FIELDS = {
    "shorter_side", "every", "max_frames", "flow", "regional", "keep_probabilities", "next_index",
    "slots", "last", "history", "past",
}  # fmt: skip
_LAST_FIELDS = {"index", "video_size", "object_ids", "given_ids", "regions", "seconds"}
_PAST_FIELDS = _LAST_FIELDS | {"removed"}
PAST = "past."  # begins the names of the records in the history
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
        and _facts(
            last, last.estimate.object_ids, last.estimate.given and last.estimate.given.object_ids
        ),
        "history": options.history,
        "past": [
            _facts(past, past.object_ids, past.given_ids) | {"removed": sorted(past.removed)}
            for past in state.history.frames
        ],
    }


def _facts(
    frame: LastFrame | PastFrame, ids: tuple[int, ...], given_ids: tuple[int, ...] | None
) -> dict[str, Any]:
    return {
        "index": frame.index,
        "video_size": frame.video_size,
        "object_ids": ids,
        "given_ids": given_ids,
        "regions": [[i, *box] for i, box in frame.regions.items()],
        "seconds": None if frame.seconds is None else float(frame.seconds),
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
    return tensors | {f"{PAST}{i}": record for i, record in state.history.records().items()}


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
        history=header["history"],
    )
    next_index = _integer(header["next_index"], 0, _LARGEST_INDEX)
    state = SessionState.fresh(options, next_index)
    if header["last"] is None:
        _require(not header["slots"] and not header["past"] and not tensors, "a past without frame")
        return state

    facts = _past_frame(header["last"] | {"removed": []}, options, next_index)
    size, ids, given_ids = facts.network_size, facts.object_ids, facts.given_ids
    pixels = _take(tensors, "last.pixels", torch.uint8, (3, *size))
    predicted = _take(tensors, "last.predicted", torch.float32, (len(ids), *size))
    given = None
    if given_ids is not None:
        shape = (len(given_ids), *facts.video_size)
        masks, void = (_take(tensors, f"given.{x}", torch.bool, shape) for x in ("masks", "void"))
        given = Given(given_ids, masks, void)

    bank = MemoryBank(options.memory)
    if header["slots"]:
        slots = [_slot(row, facts.index) for row in header["slots"]]
        bound = options.memory.max_frames or len(slots)
        _require(len({slot.frame for slot in slots}) == len(slots) <= bound, "frames in memory")
        view = _memory(tensors, (len(ids), len(slots)), size, config, dtype)
        bank = MemoryBank.restore(options.memory, slots, MemoryView(*(x.to(device) for x in view)))
    history = _history(header["past"], tensors, facts, options)
    _require(not tensors, f"unknown tensors {sorted(tensors)}")
    estimate = Estimate(ids, predicted.to(device), given)
    last = LastFrame(
        facts.index, pixels.to(device), facts.video_size, estimate, facts.regions, facts.seconds
    )
    return replace(state, bank=bank, history=history, last=last)


def _past_frame(fields: Mapping[str, Any], options: TrackingOptions, stop: int) -> PastFrame:
    """Parse what is known of a frame before `stop`, but for its tensors."""
    _require(fields.keys() == _PAST_FIELDS, f"a frame's fields are {sorted(fields)}")
    height, width = (_integer(x, 1, _MAX_PIXELS) for x in fields["video_size"])
    _require(height * width <= _MAX_PIXELS, f"frames of {height} by {width} pixels")
    ids, given_ids, seconds = _ids(fields["object_ids"]), fields["given_ids"], fields["seconds"]
    if given_ids is not None:
        given_ids = _ids(given_ids)
        _require(bool(given_ids) and {*given_ids} <= {*ids}, "ids of given masks")
    _require(seconds is None or isinstance(seconds, float), "seconds")
    regions: dict[int, Box] = {}
    for row in fields["regions"]:
        object_id, x0, y0, x1, y1 = (_integer(x, 0, _LARGEST_ID) for x in row)
        regions[object_id] = x0, y0, x1, y1
    return PastFrame(
        index=_integer(fields["index"], 0, stop - 1),
        video_size=(height, width),
        network_size=network_size(height, width, options.shorter_side),
        object_ids=ids,
        given_ids=given_ids,
        regions=regions,
        seconds=seconds,
        removed=frozenset(_ids(fields["removed"])),
    )


def _history(
    past: Sequence[Mapping[str, Any]],
    tensors: dict[str, Tensor],
    last: PastFrame,
    options: TrackingOptions,
) -> History:
    """Take the records of past frames; they go to a temporary file, one by one."""
    history = History(options.history)
    _require(len(past) <= options.history, "the length of its past")
    frames = [_past_frame(fields, options, last.index) for fields in past]
    numbers = [frame.index for frame in frames]
    _require(numbers == sorted(set(numbers)), "the order of its past frames")
    for frame in frames:
        ids = tuple(i for i in frame.object_ids if i not in frame.removed)
        # Objects are added at the end; so the first ones are those of the past.
        _require(ids == last.object_ids[: len(ids)], "the objects of a past frame")
        _require(frame.video_size == last.video_size, "the size of a past frame")
        name, size = f"{PAST}{frame.index}", (frame.num_bytes,)
        history = history.with_record(frame, [_take(tensors, name, torch.uint8, size)])
    if history.failure:
        history.warn()
    return history


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
    _require(frame != FREE or not keep, "a free slot in memory")
    return Slot(_integer(frame, FREE, last_index), keep=keep, pinned=pinned)


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
