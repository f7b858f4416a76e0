"""Delayed messages: sent, and not visible yet (SQS developer guide, delay queues).

They are on disk; memory knows how many become visible when.
"""

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Delays end on this grid, at most so much late and never early: 900 s of them fit in 9 000 numbers, whether one message
# is delayed or ten million.
STEP_MS = 100


def step_from(moment_ms: int) -> int:
    """The first moment of the grid that is not before this one."""
    return moment_ms + -moment_ms % STEP_MS


class Delayed:
    """How many of a queue's messages become visible at which moment."""

    __slots__ = ("_counts", "_ends", "_total")

    def __init__(self, counts: "Mapping[int, int] | None" = None) -> None:
        self._counts = dict(counts or {})
        self._total = sum(self._counts.values())
        self._ends = list(self._counts)
        heapify(self._ends)

    def __len__(self) -> int:
        return self._total

    def add(self, now_ms: int, delay_s: int) -> int:
        """One message more; returns when it becomes visible."""
        visible_ms = step_from(now_ms + delay_s * 1000)
        if visible_ms not in self._counts:
            heappush(self._ends, visible_ms)
            self._counts[visible_ms] = 0
        self._counts[visible_ms] += 1
        self._total += 1
        return visible_ms

    def remove(self, visible_ms: int) -> None:
        """One message less."""
        self._counts[visible_ms] -= 1
        self._total -= 1

    def pop_due(self, now_ms: int) -> "Sequence[tuple[int, int]]":
        """Take out (visible_ms, how many) of the delays that have ended."""
        if not self._ends or self._ends[0] > now_ms:
            return ()
        due = []
        while self._ends and self._ends[0] <= now_ms:
            visible_ms = heappop(self._ends)
            if count := self._counts.pop(visible_ms):
                self._total -= count
                due.append((visible_ms, count))
        return due

    def next_ms(self) -> int | None:
        """When the next delay ends, None if nothing is delayed."""
        return self._ends[0] if self._ends else None
