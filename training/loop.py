"""The loop that both trainings share: steps, log lines, checks, checkpoints, and a way out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from batches import Batch
from parallel import Part, StopSignals
from runs import Log, Run

LOG_EVERY = 50  # steps
SAVE_EVERY = 200  # steps; what a run that is killed loses at most


def train_loop(
    run: Run,
    batches: Iterable[Batch],
    step: Callable[[Batch], dict[str, Tensor | float]],
    check: Callable[[], dict[str, Any]],
    log: Log,
    *,
    planned: int,
    check_every: int,
    part: Part,
    stop_after: int | None = None,
    check_first: bool = False,
) -> bool:
    """Train until the batches end or somebody wants to stop.

    Args:
        run: What changes.
        batches: From `run.seen` on.
        step: Learns from a batch and returns numbers for the log.
        check: Measures the averaged weights; process 0 only.
        log: Where lines go.
        planned: Clips, for the bar.
        check_every: Clips between two checks, each with a checkpoint.
        part: Which process this is.
        stop_after: Leave once so many clips are seen.
        check_first: Whether a run that has seen nothing yet begins with a check.

    Returns:
        Whether the run is finished. If not, its checkpoint goes on where it left.
    """
    writes = part.number == 0
    recent: list[dict[str, Tensor | float]] = []
    next_check = (run.seen // check_every + 1) * check_every
    finished = True

    def save_and_check() -> None:
        if writes:
            run.save()
            log.write(kind="check", seen=run.seen, **check())

    # None: no bar where nobody looks.
    bar = tqdm(
        total=planned, initial=run.seen, unit="clip", smoothing=0.02,
        disable=None if writes else True,
    )  # fmt: skip
    with StopSignals() as signals, bar:
        if check_first and run.seen == 0 and writes:
            log.write(kind="check", seen=0, **check())
        for number, batch in enumerate(batches, 1):
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
                finished = run.seen >= planned
                break
            if number % SAVE_EVERY == 0 and writes:
                run.save()
            if next_check <= run.seen < planned:
                save_and_check()
                next_check = (run.seen // check_every + 1) * check_every
    if finished:
        save_and_check()
    elif writes:
        run.save()
        log.write(kind="stopped", seen=run.seen)
    return finished


def _means(recent: list[dict[str, Tensor | float]]) -> dict[str, float]:
    """Means over some steps; the device is waited for once."""
    names = list(recent[0])
    rows = torch.stack([torch.stack([torch.as_tensor(x[n]).float().cpu() for n in names])
                        for x in recent])  # fmt: skip
    return dict(zip(names, rows.mean(0).tolist(), strict=True))
