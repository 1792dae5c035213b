"""What a session's file says besides its tensors: numbers, each checked before it is believed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import Tensor

from rmnet.config import STRIDE, RMNetConfig
from rmnet.geometry import Padding, network_size
from rmnet.options import MemoryPolicy
from rmnet.tracking.estimate import Estimate, Given
from rmnet.tracking.memory import MemoryBank, MemoryView, Slot
from rmnet.tracking.session_state import FlowName, LastFrame, SessionState
from rmnet.tracking.step import KnownFrame

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_LARGEST_ID = 2**31 - 1
_LARGEST_INDEX = 2**53  # of a frame; more is no count of anything
_MAX_PIXELS = 2**28  # of a frame: results of this size are made later on

Wanted = dict[str, tuple[torch.dtype, tuple[int, ...]]]


@dataclass(frozen=True, slots=True)
class _Last:
    """The last readable frame's numbers; `size` is (H, W) px inside the network."""

    index: int
    video_size: tuple[int, int]
    size: tuple[int, int]
    object_ids: tuple[int, ...]
    given_ids: tuple[int, ...] | None
    regions: dict[int, tuple[int, int, int, int]]
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Header:
    """A `SessionState` without its tensors."""

    precision: torch.dtype
    shorter_side: int | None
    policy: MemoryPolicy
    flow: FlowName
    regional: bool
    keep_probabilities: bool
    next_index: int
    slots: tuple[Slot, ...]
    last: _Last | None

    @classmethod
    def of(cls, state: SessionState) -> Header:
        """What is to be written of a state."""
        last = None
        if state.last is not None:
            estimate, pixels = state.last.known.estimate, state.last.known.pixels
            last = _Last(
                state.last.known.index,
                state.last.video_size,
                (pixels.shape[1], pixels.shape[2]),
                estimate.object_ids,
                None if estimate.given is None else estimate.given.object_ids,
                state.last.regions,
                None if state.last.seconds is None else float(state.last.seconds),
            )
        return cls(
            state.precision,
            state.shorter_side,
            state.bank.policy,
            state.flow,
            state.regional,
            state.keep_probabilities,
            state.next_index,
            state.bank.slots,
            last,
        )

    def to_json(self) -> dict[str, Any]:
        """The fields, for `json.dumps`."""
        last = self.last
        return {
            "dtype": str(self.precision).removeprefix("torch."),
            "shorter_side": self.shorter_side,
            "every": int(self.policy.every),  # NumPy's integers are accepted too, but are no JSON
            "max_frames": None if self.policy.max_frames is None else int(self.policy.max_frames),
            "flow": self.flow,
            "regional": bool(self.regional),
            "keep_probabilities": bool(self.keep_probabilities),
            "next_index": self.next_index,
            "slots": [[slot.frame, slot.keep, slot.pinned] for slot in self.slots],
            "last": last and {
                "index": last.index,
                "video_size": last.video_size,
                "object_ids": last.object_ids,
                "given_ids": last.given_ids,
                "regions": [[i, *box] for i, box in last.regions.items()],
                "seconds": last.seconds,
            },
        }  # fmt: skip

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Header:
        """Read the fields back.

        Raises:
            ValueError: a field is missing, unknown or of another kind, or two contradict.
            ConfigError: the memory's policy is none.
        """
        fields = dict(fields)
        shorter_side = fields.pop("shorter_side")
        next_index = _integer(fields.pop("next_index"), 0, _LARGEST_INDEX)
        policy = MemoryPolicy(fields.pop("every"), fields.pop("max_frames"))
        last = fields.pop("last")
        if shorter_side is not None:
            shorter_side = _integer(shorter_side, 1, _LARGEST_INDEX)
        header = cls(
            precision=DTYPES[_choice(fields.pop("dtype"), tuple(DTYPES))],
            shorter_side=shorter_side,
            policy=policy,
            flow=_choice(fields.pop("flow"), get_args(FlowName)),
            regional=_boolean(fields.pop("regional")),
            keep_probabilities=_boolean(fields.pop("keep_probabilities")),
            next_index=next_index,
            slots=tuple(
                Slot(_integer(frame, 0, next_index - 1), _boolean(keep), _boolean(pinned))
                for frame, keep, pinned in _list(fields.pop("slots"))
            ),
            last=None if last is None else _last(dict(last), shorter_side, next_index),
        )
        frames = {slot.frame for slot in header.slots}
        bound = len(frames) if policy.max_frames is None else policy.max_frames
        _require(not fields, f"unknown fields {sorted(fields)}")
        _require(len(frames) == len(header.slots) <= bound, "frames in memory")
        _require(header.last is not None or not header.slots, "memory without a frame")
        _require(all(frame <= header.last.index for frame in frames if header.last), "its frames")
        return header

    def wanted(self, config: RMNetConfig) -> Wanted:
        """Dtype and shape of every tensor that belongs to this header, by name."""
        tensors: Wanted = {}
        if self.last is None:
            return tensors
        number, (height, width) = len(self.last.object_ids), self.last.size
        tensors["last.pixels"] = torch.uint8, (3, height, width)
        tensors["last.predicted"] = torch.float32, (number, height, width)
        if self.last.given_ids is not None:
            shape = (len(self.last.given_ids), *self.last.video_size)
            tensors["given.masks"] = tensors["given.void"] = torch.bool, shape
        if self.slots:
            held = number, len(self.slots)
            tensors["memory.key"] = self.precision, (*held, *self._cells, config.key_width)
            tensors["memory.value"] = self.precision, (*held, *self._cells, config.value_width)
            tensors["memory.boxes"] = torch.int32, (*held, 4)
            tensors["memory.present"] = torch.bool, held
        return tensors

    def state(self, tensors: Mapping[str, Tensor], device: torch.device) -> SessionState:
        """The state, of tensors as `wanted` says; `given` stays on the CPU.

        Raises:
            ValueError: a region in memory lies outside of the grid.
        """
        bank, last = MemoryBank(self.policy), None
        if self.slots:
            view = MemoryView(*(tensors[f"memory.{name}"] for name in MemoryView._fields))
            height, width = self._cells
            limits = torch.tensor((width, height, width, height))
            _require(bool(((view.boxes >= 0) & (view.boxes <= limits)).all()), "regions in memory")
            bank = MemoryBank.restore(
                self.policy, self.slots, MemoryView(*(x.to(device) for x in view))
            )
        if self.last is not None:
            ids = self.last.given_ids
            masks = None if ids is None else (tensors["given.masks"], tensors["given.void"])
            estimate = Estimate(
                self.last.object_ids,
                tensors["last.predicted"].to(device),
                None if ids is None or masks is None else Given(ids, *masks),
            )
            pixels = tensors["last.pixels"].to(device)
            known = KnownFrame(self.last.index, pixels, estimate)
            last = LastFrame(known, self.last.video_size, self.last.regions, self.last.seconds)
        return SessionState(
            self.precision,
            self.shorter_side,
            self.flow,
            self.regional,
            self.keep_probabilities,
            bank,
            self.next_index,
            last,
        )

    @property
    def _cells(self) -> tuple[int, int]:
        """Height and width of the padded frame, in cells."""
        height, width = (0, 0) if self.last is None else self.last.size
        padding = Padding.to_multiple((height, width), STRIDE)
        return (
            (height + padding.top + padding.bottom) // STRIDE,
            (width + padding.left + padding.right) // STRIDE,
        )


def _last(fields: dict[str, Any], shorter_side: int | None, next_index: int) -> _Last:
    index = _integer(fields.pop("index"), 0, next_index - 1)  # less: those after it were skipped
    height, width = (_integer(x, 1, _MAX_PIXELS) for x in _list(fields.pop("video_size")))
    _require(height * width <= _MAX_PIXELS, f"frames of {height} by {width} px")
    object_ids, given_ids = _ids(fields.pop("object_ids")), fields.pop("given_ids")
    if given_ids is not None:
        given_ids = _ids(given_ids)
        _require(bool(given_ids) and {*given_ids} <= {*object_ids}, "ids of given masks")
    regions: dict[int, tuple[int, int, int, int]] = {}
    for row in _list(fields.pop("regions")):
        i, x0, y0, x1, y1 = (_integer(x, 0, _LARGEST_ID) for x in row)
        regions[i] = x0, y0, x1, y1
    seconds = fields.pop("seconds")
    if seconds is not None:
        _require(isinstance(seconds, float), "seconds")
    _require(not fields, f"unknown fields {sorted(fields)}")
    size = network_size(height, width, shorter_side)
    return _Last(index, (height, width), size, object_ids, given_ids, regions, seconds)


def _ids(value: object) -> tuple[int, ...]:
    ids = tuple(_integer(i, 1, _LARGEST_ID) for i in _list(value))
    _require(len(set(ids)) == len(ids), "ids that come twice")
    return ids


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f"its header does not add up: {what}")


def _integer(value: object, lowest: int, highest: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        raise ValueError(f"{value!r:.40} is not an integer from {lowest} to {highest}")
    return value


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r:.40} is not true or false")
    return value


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{value!r:.40} is not a list")
    return value


def _choice(value: object, choices: tuple[Any, ...]) -> Any:  # noqa: ANN401 one of the choices
    if value not in choices:
        raise ValueError(f"{value!r:.40} is none of {choices}")
    return value
