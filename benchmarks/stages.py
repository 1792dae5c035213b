"""Where a step's time goes: stages of the library and of the baseline, wrapped from outside."""

from __future__ import annotations

import contextlib
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, register_flop_formula

from baseline import BaselineSession
from rmnet import TrackingSession
from rmnet.runtime import InferenceNetwork
from rmnet.tracking.estimate import Estimate
from rmnet.tracking.memory import MemoryBank

STAGES = (
    "query encoder",
    "flow + warp",
    "memory encoding",
    "read",
    "decoder",
    "aggregation + labels",
    "input/output",  # what no other stage wraps
)


class Cost(NamedTuple):
    """Of one stage in one step.

    Attributes:
        seconds: On the clock.
        cpu_seconds: Of all threads together.
        system_seconds: Of those, in the kernel.
        page_faults: Minor ones.
        macs: Multiply-adds of convolutions and matrix products; 0 unless counted.
    """

    seconds: float
    cpu_seconds: float
    system_seconds: float
    page_faults: float
    macs: float

    def __add__(self, other: tuple[float, ...]) -> Cost:
        """Both together."""
        return Cost(*(a + b for a, b in zip(self, other, strict=True)))


NOTHING = Cost(0, 0, 0, 0, 0)


class Stopwatch:
    """Charges a step's costs to the innermost stage that runs."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Cost]] = []
        self._stack: list[str] = []
        self._mark = tuple(NOTHING)
        self._counter: FlopCounterMode | None = None

    def wrap(self, owner: Any, name: str, stage: str) -> None:  # noqa: ANN401 module, class, object
        """Put a function or method that belongs to a stage under watch, for good."""
        function: Callable[..., Any] = getattr(owner, name)

        def watched(*args: object, **kwargs: object) -> object:
            if not self._stack:  # another variant's step
                return function(*args, **kwargs)
            self._lap()
            self._stack.append(stage)
            try:
                return function(*args, **kwargs)
            finally:
                self._lap()
                self._stack.pop()

        setattr(owner, name, watched)

    @contextlib.contextmanager
    def step(self, *, count: bool = False) -> Iterator[None]:
        """Watch one step; counting multiply-adds makes it slow."""
        self._counter = FlopCounterMode(display=False) if count else None
        self.steps.append(dict.fromkeys(STAGES, NOTHING))
        with self._counter or contextlib.nullcontext():
            self._stack, self._mark = [STAGES[-1]], self._now()
            yield
            self._lap()
        self._stack = []

    def medians(self) -> dict[str, Cost]:
        """Of every stage over the steps so far, and of their sum, "all"."""
        steps = [{**step, "all": sum(step.values(), NOTHING)} for step in self.steps]
        return {
            stage: Cost(
                *(statistics.median(x) for x in zip(*(s[stage] for s in steps), strict=True))
            )
            for stage in (*STAGES, "all")
        }

    def _lap(self) -> None:
        now, stage = self._now(), self._stack[-1]
        spent = tuple(b - a for a, b in zip(self._mark, now, strict=True))
        self.steps[-1][stage] = self.steps[-1][stage] + spent
        self._mark = now

    def _now(self) -> tuple[float, ...]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        macs = self._counter.get_total_flops() / 2 if self._counter else 0.0
        cpu = usage.ru_utime + usage.ru_stime
        return time.perf_counter(), cpu, usage.ru_stime, float(usage.ru_minflt), macs


def watch_library(session: TrackingSession, network: InferenceNetwork) -> Stopwatch:
    """Wrap what a session calls; functions of modules stay wrapped, which costs others nothing."""
    watch = Stopwatch()
    propagate, of_session = (
        sys.modules["rmnet.tracking.step"],
        sys.modules["rmnet.tracking.session"],
    )
    for owner, name, stage in (
        (network, "encode_query", "query encoder"),
        (propagate, "_search_boxes", "flow + warp"),
        (network, "encode_memory", "memory encoding"),
        (MemoryBank, "write", "memory encoding"),
        (propagate, "regional_read", "read"),
        (network.network.decoder, "skips", "decoder"),
        (network, "decode", "decoder"),
        (Estimate, "probabilities", "aggregation + labels"),
        (of_session, "segment", "aggregation + labels"),
    ):
        watch.wrap(owner, name, stage)
    return watch


def watch_baseline(session: BaselineSession) -> Stopwatch:
    """Wrap a baseline session's methods."""
    watch = Stopwatch()
    for name, stage in (
        ("encode_query", "query encoder"),
        ("search", "flow + warp"),
        ("memorize", "memory encoding"),
        ("read", "read"),
        ("decode", "decoder"),
        ("aggregate", "aggregation + labels"),
        ("label", "aggregation + labels"),
    ):
        watch.wrap(session, name, stage)
    return watch


def count_native_ops() -> None:
    """Tell torch's counter of operations what the native operators multiply.

    Of a convolution what its definition multiplies; Winograd gets by with a quarter of it.
    """
    if not hasattr(torch.ops.rmnet, "regional_read"):
        return

    @register_flop_formula(torch.ops.rmnet.conv3x3, get_raw=True)
    def convolution_flops(out: Tensor, x: Tensor, weight: Tensor, *_: object, **__: object) -> int:
        del out
        return 2 * 9 * x.numel() * len(weight)

    @register_flop_formula(torch.ops.rmnet.inverted_residual, get_raw=True)
    def block_flops(
        out: Tensor, x: Tensor, packed: Tensor, expanded: int, kernel: int, stride: int,
        expands: bool, *_: object, **__: object,
    ) -> int:  # fmt: skip
        del packed, stride
        wide = x.numel() * expanded if expands else 0
        outputs = out.numel() // out.shape[1]
        return 2 * (wide + outputs * expanded * (kernel**2 + out.shape[1]))

    @register_flop_formula(torch.ops.rmnet.regional_read, get_raw=True)
    def read_flops(
        query: Tensor, key: Tensor, value: Tensor, query_boxes: Tensor, memory_boxes: Tensor,
        *_: object, **__: object,
    ) -> int:  # fmt: skip
        pairs = _area(query_boxes) * _area(memory_boxes).sum(dim=1)
        return 2 * int(pairs.sum()) * (key.shape[-1] + value.shape[-1])


def _area(boxes: Tensor) -> Tensor:
    x0, y0, x1, y1 = boxes.long().unbind(dim=-1)
    return (x1 - x0) * (y1 - y0)
