"""The loop that both trainings share: steps, log, checks, checkpoints and stopping."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor
from tqdm import tqdm

from training.clock import Deadline
from training.parallel import Part, StopSignals
from training.runs import Log, Run

LOG_EVERY = 50  # steps
SAVE_EVERY = 120  # s, the most that a killed run loses


class Counted(Protocol):
    """A batch that knows how many clips the run has seen with it."""

    @property
    def after(self) -> int:
        """Clips seen by all processes, this batch included."""
        ...


B = TypeVar("B", bound=Counted)


def train_loop(
    run: Run[Any],
    batches: Generator[B, None, None],
    step: Callable[[B], dict[str, Tensor | float]],
    check: Callable[[], dict[str, Any]],
    log: Log,
    *,
    planned: int,
    deadline: Deadline | None = None,
    check_every: int,
    part: Part,
    stop_after: int | None = None,
    check_first: bool = False,
) -> bool:
    """Train until the batches end, or a signal stops the run.

    Args:
        run: The state of the training.
        batches: Batches from `run.seen` on; closed at the end.
        step: Learns from a batch and returns numbers for the log.
        check: Measures the averaged weights; called in process 0 only.
        log: Receives lines.
        planned: Number of clips of the whole run.
        deadline: End of the run by the clock; None to go by clips.
        check_every: Clips between two checks, each with a checkpoint.
        part: This process's part of every batch.
        stop_after: Number of clips seen after which to leave, with a checkpoint.
        check_first: Whether a new run starts with a check.

    Returns:
        Whether the run is finished. If not, its checkpoint resumes it.
    """
    writes = part.number == 0
    recent: list[dict[str, Tensor | float]] = []
    next_check = (run.seen // check_every + 1) * check_every
    finished = True
    saved = time.monotonic()

    def is_over() -> bool:
        return run.seen >= planned if deadline is None else deadline.passed >= 1

    def save_and_check() -> None:
        if writes:
            run.save()
            log.write(kind="check", seen=run.seen, **check())

    # None hides the bar where no terminal shows it.
    bar = tqdm(
        total=None if deadline else planned, initial=run.seen, unit="clip", smoothing=0.02,
        disable=None if writes else True,
    )  # fmt: skip
    with closing(run):
        # Closing the batches first ends the processes that make them.
        with StopSignals() as signals, bar, closing(batches):
            if check_first and run.seen == 0 and writes:
                log.write(kind="check", seen=0, **check())
            for batch in batches:
                recent.append(step(batch))
                bar.update(batch.after - run.seen)
                run.seen = batch.after
                if len(recent) == LOG_EVERY:
                    means = _means(recent)
                    recent = []
                    bar.set_postfix({name: f"{value:.3g}" for name, value in means.items()})
                    if writes:
                        log.write(kind="train", seen=run.seen, **means)
                if part.any(signals.asked) or (stop_after is not None and run.seen >= stop_after):
                    finished = is_over()
                    break
                if deadline is not None and is_over():
                    break  # even if more batches are ready
                if writes and time.monotonic() - saved > SAVE_EVERY:
                    run.save()
                    saved = time.monotonic()
                if next_check <= run.seen and not is_over():
                    save_and_check()
                    next_check = (run.seen // check_every + 1) * check_every
        if finished:
            save_and_check()
        elif writes:
            run.save()
            log.write(kind="stopped", seen=run.seen)
    return finished


def _means(recent: list[dict[str, Tensor | float]]) -> dict[str, float]:
    """Return means over steps, waiting for the device once per name."""
    columns = {name: [torch.as_tensor(row[name]) for row in recent] for name in recent[0]}
    return {name: float(torch.stack(column).float().mean()) for name, column in columns.items()}
