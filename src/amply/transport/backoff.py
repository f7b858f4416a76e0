"""How long to wait before the next try after a failure; knows numbers only."""

from random import Random


class Backoff:
    """Waits that grow by `factor` from `first_s` up to `most_s` seconds, each moved by up to `jitter` of itself.

    Jitter keeps workers that failed together from coming back together. No wait is longer than `most_s` x (1 + jitter).
    """

    def __init__(self, first_s: float, most_s: float, factor: float = 2.0, jitter: float = 0.2, *, random: Random):
        self._first_s = first_s
        self._most_s = most_s
        self._factor = factor
        self._jitter = jitter
        self._random = random
        self._plain_s = first_s

    def next_s(self) -> float:
        """Seconds to wait now; the next call's are more."""
        plain_s = min(self._plain_s, self._most_s)
        self._plain_s = min(plain_s * self._factor, self._most_s)
        return plain_s * self._random.uniform(1 - self._jitter, 1 + self._jitter)

    def reset(self) -> None:
        """It worked: the next wait is the first again."""
        self._plain_s = self._first_s
