"""Where the time of a step goes: stages of the library and of the baseline, timed from outside."""

from __future__ import annotations

import contextlib
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import astuple, dataclass
from functools import wraps
from typing import ClassVar

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, register_flop_formula

from benchmarks.baseline import BaselineSession
from benchmarks.watching import Function, exchanged
from rmnet.runtime import Executor, FusedDecoder, ObjectwiseExecutor
from rmnet.tracking import search_boxes

OTHER = "input/output"  # what no other stage covers
STAGES = (
    "query encoder",
    "flow + warp",
    "memory encoding",
    "read",
    "decoder",
    "aggregation + labels",
    OTHER,
)

# A function, the stage that it is, and the stage that the time after it belongs to.
WATCHED: tuple[tuple[Function, str, str], ...] = (
    (search_boxes, "flow + warp", OTHER),
    (ObjectwiseExecutor.encode_memory, "memory encoding", "memory encoding"),  # writing it
    (ObjectwiseExecutor.encode_query, "query encoder", OTHER),
    (FusedDecoder.skips, "decoder", OTHER),
    (Executor.read, "read", OTHER),
    (BaselineSession.search, "flow + warp", OTHER),
    (BaselineSession.memorize, "memory encoding", OTHER),
    (BaselineSession.encode_query, "query encoder", OTHER),
    (BaselineSession.read, "read", OTHER),
    (BaselineSession.decode, "decoder", OTHER),
    (BaselineSession.aggregate, "aggregation + labels", OTHER),
    (BaselineSession.label, "aggregation + labels", OTHER),
)


@dataclass(frozen=True)
class Cost:
    """What one stage of one step costs.

    Attributes:
        seconds: Wall-clock time.
        cpu_seconds: Processor time of all threads.
        system_seconds: Part of that spent in the kernel.
        page_faults: Minor page faults.
        macs: Multiply-adds of convolutions and matrix products; 0 unless counted.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    system_seconds: float = 0.0
    page_faults: float = 0.0
    macs: float = 0.0

    def plus(self, other: Cost) -> Cost:
        """Return the sum of both."""
        return Cost(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def minus(self, other: Cost) -> Cost:
        """Return the difference of both."""
        return Cost(*(a - b for a, b in zip(astuple(self), astuple(other), strict=True)))


class Stopwatch:
    """Charges the costs of a step to the innermost stage that runs.

    Attributes:
        steps: Costs by stage, one dictionary per step.
        truth: (N, H, W) probabilities to return from the library's decoder, in place of its own.
    """

    running: ClassVar[Stopwatch | None] = None

    def __init__(self) -> None:
        self.steps: list[dict[str, Cost]] = []
        self.truth: Tensor | None = None
        self._stack: list[str] = []
        self._mark = Cost()
        self._counter: FlopCounterMode | None = None

    @contextlib.contextmanager
    def step(self, *, count: bool = False) -> Iterator[None]:
        """Watch one step; `count` counts multiply-adds, which makes it slow."""
        self._counter = FlopCounterMode(display=False) if count else None
        self.steps.append(dict.fromkeys(STAGES, Cost()))
        with self._counter or contextlib.nullcontext():
            self._stack, self._mark = [OTHER], self._now()
            Stopwatch.running = self
            try:
                yield
                self._lap()
            finally:
                Stopwatch.running = None

    @contextlib.contextmanager
    def stage(self, name: str, then: str) -> Iterator[None]:
        """Charge a stage; what follows the outermost one is charged to `then`."""
        self._lap()
        self._stack.append(name)
        try:
            yield
        finally:
            self._lap()
            self._stack.pop()
            if len(self._stack) == 1:
                self._stack[0] = then

    def medians(self) -> dict[str, Cost]:
        """Return the median cost of every stage over the steps, and of their sum, "all"."""
        steps = [{**step, "all": _total(step)} for step in self.steps]
        return {
            stage: Cost(
                *(
                    statistics.median(values)
                    for values in zip(*(astuple(step[stage]) for step in steps), strict=True)
                )
            )
            for stage in (*STAGES, "all")
        }

    def _lap(self) -> None:
        now, stage = self._now(), self._stack[-1]
        self.steps[-1][stage] = self.steps[-1][stage].plus(now.minus(self._mark))
        self._mark = now

    def _now(self) -> Cost:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        macs = self._counter.get_total_flops() / 2 if self._counter else 0.0
        cpu = usage.ru_utime + usage.ru_stime
        return Cost(time.perf_counter(), cpu, usage.ru_stime, float(usage.ru_minflt), macs)


@contextlib.contextmanager
def watched_stages() -> Iterator[None]:
    """Let the stages of the library and of the baseline charge the stopwatch that runs."""
    with ExitStack() as stack:
        for function, stage, then in WATCHED:
            stack.enter_context(exchanged(function, _charging(stage, then)))
        stack.enter_context(exchanged(ObjectwiseExecutor.decode, _decoding))
        yield


def _charging(stage: str, then: str) -> Callable[[Function], Function]:
    def wrap(function: Function) -> Function:
        @wraps(function)
        def watched(*args: object, **options: object) -> object:
            if Stopwatch.running is None:
                return function(*args, **options)
            with Stopwatch.running.stage(stage, then):
                return function(*args, **options)

        return watched

    return wrap


def _decoding(function: Function) -> Function:
    charged = _charging("decoder", "aggregation + labels")(function)

    @wraps(function)
    def decode(*args: object, **options: object) -> object:
        decoded = charged(*args, **options)
        watch = Stopwatch.running
        return decoded if watch is None or watch.truth is None else watch.truth

    return decode


def _total(step: dict[str, Cost]) -> Cost:
    total = Cost()
    for cost in step.values():
        total = total.plus(cost)
    return total


def count_native_ops() -> None:
    """Tell torch's counter of operations what the native operators multiply.

    A convolution counts by its definition; Winograd's algorithm needs a quarter of that.
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
