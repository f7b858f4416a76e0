"""Time. The only module that reads a clock; every rule gets `now_ms` handed in."""

import time
from typing import Protocol

# The clock that also counts a suspended machine's sleep, where the platform has one.
_ELAPSED = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Clock(Protocol):
    """Where the time comes from."""

    def now_ms(self) -> int:
        """Epoch milliseconds; never goes back."""


class SystemClock:
    """Wall time at start, carried on by the elapsed-time clock.

    A step of the wall clock (NTP, an operator) neither shortens nor lengthens a running timeout. `not_before_ms` is the
    last moment known from before a restart: time does not go back across it either.
    """

    def __init__(self, not_before_ms: int = 0) -> None:
        self._start_ms = max(wall_ms(), not_before_ms)
        self._start_elapsed_ns = time.clock_gettime_ns(_ELAPSED)

    def now_ms(self) -> int:
        """Epoch milliseconds; never goes back."""
        return self._start_ms + (time.clock_gettime_ns(_ELAPSED) - self._start_elapsed_ns) // 1_000_000


class ManualClock:
    """A clock that stands still until it is moved; for tests and simulations."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        """The moment it was last moved to."""
        return self._now_ms

    def advance(self, seconds: float) -> None:
        """Move on by a number of seconds, never back."""
        if seconds < 0:
            raise ValueError(f"a clock does not go back, asked for {seconds} s")
        self._now_ms += round(seconds * 1000)


def wall_ms() -> int:
    """The machine's wall clock, in epoch milliseconds. It may step; use a `Clock` for rules."""
    return time.time_ns() // 1_000_000
