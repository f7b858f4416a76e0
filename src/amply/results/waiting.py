"""Looking again until something is there, seldomer and seldomer. Knows no result and no file."""

from collections.abc import Callable

from celery.exceptions import TimeoutError as CeleryTimeoutError

from amply.clock import Clock

# Celery looks every half second. Most jobs are quicker than that, and a look takes microseconds.
FIRST_PAUSE_S = 0.01
LONGEST_PAUSE_S = 0.5
_GROWTH = 1.5


class Pauses:
    """The pauses between looks: from 10 ms up to `longest_s`, and none beyond the `timeout_s` counted from now."""

    def __init__(
        self, clock: Clock, sleep: Callable[[float], object], *, timeout_s: float | None, longest_s: float | None
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._longest_s = LONGEST_PAUSE_S if longest_s is None else longest_s
        self._next_s = min(FIRST_PAUSE_S, self._longest_s)
        self._timeout_s = timeout_s
        self._end_ms = None if timeout_s is None else clock.now_ms() + timeout_s * 1000

    def pause(self) -> None:
        """Sleep until the next look. Raises Celery's `TimeoutError` when the time is over; 0 s are over at once."""
        pause_s = self._next_s
        if self._end_ms is not None:
            left_s = (self._end_ms - self._clock.now_ms()) / 1000
            if left_s <= 0:
                raise CeleryTimeoutError(f"The result was not there within {self._timeout_s} s.")
            pause_s = min(pause_s, left_s)
        self._sleep(pause_s)
        self._next_s = min(self._next_s * _GROWTH, self._longest_s)
