"""Time that a run has taken, over all processes that worked on it."""

from __future__ import annotations

import time
from dataclasses import dataclass


class Clock:
    """Measures the time of a run, without the pauses between its processes."""

    def __init__(self, spent: float = 0.0) -> None:
        """Start at `spent` seconds."""
        self._spent, self._begun = spent, time.monotonic()

    @property
    def seconds(self) -> float:
        """Wall-clock time so far."""
        return self._spent + time.monotonic() - self._begun


@dataclass(frozen=True)
class Deadline:
    """The end of a run that is limited by time.

    Attributes:
        clock: Clock of the run.
        minutes: Length of the whole run.
    """

    clock: Clock
    minutes: float

    @property
    def passed(self) -> float:
        """Part of the time that has passed, in [0, 1]."""
        return min(1.0, self.clock.seconds / (60 * self.minutes))
