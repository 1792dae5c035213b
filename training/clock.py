"""Time that a run has taken, over all the processes that went on with it."""

from __future__ import annotations

import time
from dataclasses import dataclass


class Clock:
    """Seconds since a run began, those between two processes left out."""

    def __init__(self, spent: float = 0.0) -> None:
        """Go on from `spent` seconds."""
        self._spent, self._begun = spent, time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return self._spent + time.monotonic() - self._begun


@dataclass(frozen=True)
class Deadline:
    """The end of a run that is limited by time.

    Attributes:
        clock: The run's.
        minutes: Length of the whole run.
    """

    clock: Clock
    minutes: float

    @property
    def passed(self) -> float:
        """Part of the time that has passed, 0 to 1."""
        return min(1.0, self.clock.seconds / (60 * self.minutes))
