"""So many a second and no more, evenly. Knows the time it is handed; must not know what is counted."""

from collections.abc import Callable
from threading import Lock

from amply.clock import Clock


class Rate:
    """`per_s` a second at most, for any number of threads. What was not used is not saved up.

    `pause` waits for so many seconds, or less when there is no more reason to wait.
    """

    def __init__(self, per_s: float, clock: Clock, pause: Callable[[float], object]) -> None:
        self._ms_each = 1000 / per_s
        self._clock = clock
        self._pause = pause
        self._lock = Lock()
        self._free_ms = 0.0

    def wait(self, count: int) -> None:
        """Return when it is the turn of `count` more."""
        with self._lock:
            now_ms = self._clock.now_ms()
            turn_ms = max(self._free_ms, now_ms)
            self._free_ms = turn_ms + count * self._ms_each
        if turn_ms > now_ms:
            self._pause((turn_ms - now_ms) / 1000)
