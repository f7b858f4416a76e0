"""What happens in the demonstration, and when: a seeded story without a clock, the same on every run."""

import heapq
import random
from collections.abc import Iterator
from enum import Enum
from itertools import count


class Kind(Enum):
    """What a moment of the demonstration brings."""

    DONATION = "donation"
    NEWS = "news"
    CHECKPOINT = "checkpoint"
    REPORT = "report"
    CLEANUP = "cleanup"


# Between the bursts, each kind comes at random moments, so many seconds apart on average.
_SECONDS_APART = {
    Kind.DONATION: 0.7,
    Kind.NEWS: 2.0,
    Kind.CHECKPOINT: 4.0,
    Kind.REPORT: 4.0,
    Kind.CLEANUP: 15.0,
}

# A burst fills every queue, and is gone before the next one. The first comes at once.
BURST_EVERY_S = 10.0
_BURST = {Kind.DONATION: 12, Kind.NEWS: 8, Kind.REPORT: 10}


def arrivals(seed: int) -> Iterator[tuple[float, Kind]]:
    """Seconds since the start, never going back, and what comes then; without end."""
    chance = random.Random(seed)  # noqa: S311 - a story, not a secret
    order = count()
    coming: list[tuple[float, int, Kind | None]] = [(0.0, next(order), None)]
    coming += [(chance.expovariate(1 / apart_s), next(order), kind) for kind, apart_s in _SECONDS_APART.items()]
    heapq.heapify(coming)
    while True:
        at_s, _, kind = heapq.heappop(coming)
        if kind is None:
            heapq.heappush(coming, (at_s + BURST_EVERY_S, next(order), None))
            for of_burst, times in _BURST.items():
                for _ in range(times):
                    yield at_s, of_burst
        else:
            heapq.heappush(coming, (at_s + chance.expovariate(1 / _SECONDS_APART[kind]), next(order), kind))
            yield at_s, kind
