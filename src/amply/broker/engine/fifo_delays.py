"""The delays of a FIFO queue, which are the queue's and never a message's.

A changed delay holds for what is delayed still (AWS API reference, SetQueueAttributes), so no moment is stored for a
message: memory knows up to where delays have ended, and how many have not.
"""

from typing import TYPE_CHECKING

from amply.broker.engine.delayed import STEP_MS, Delayed, step_from
from amply.broker.engine.records import AFTER_ALL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from amply.broker.engine.records import Entry


class FifoDelays:
    """`counts` are the delayed messages by when they were sent, on the grid of `STEP_MS`."""

    __slots__ = ("_counts", "_until_ms", "_until_seq", "delay_s")

    def __init__(self, delay_s: int, counts: "Mapping[int, int] | None" = None) -> None:
        self.delay_s = delay_s
        self._counts = Delayed(counts)
        # The delay of every message sent up to then, or up to that number, has ended, whatever the delay becomes later.
        self._until_ms = 0
        self._until_seq = 0

    def __len__(self) -> int:
        return len(self._counts)

    def change(self, delay_s: int, last_seq: int) -> None:
        """The queue has another delay. What is visible stays so when there is a delay now."""
        if self.delay_s == 0:
            self._until_seq = last_seq
        self.delay_s = delay_s

    def pass_time(self, now_ms: int) -> bool:
        """Let delays end; whether any did."""
        if self.delay_s:
            moment_ms = now_ms - self.delay_s * 1000
            self._until_ms = max(self._until_ms, moment_ms - moment_ms % STEP_MS)
        return bool(self._counts.pop_due(self._until_ms if self.delay_s else AFTER_ALL))

    def ended(self) -> tuple[int, int]:
        """The delay of what was sent up to that moment, or up to that number, has ended."""
        return (self._until_ms, self._until_seq) if self.delay_s else (AFTER_ALL, AFTER_ALL)

    def is_delayed(self, entry: "Entry") -> bool:
        """Whether the message waits for the end of its delay, if it is not in flight."""
        return self.delay_s > 0 and entry.sent_ms > self._until_ms and entry.seq > self._until_seq

    def visible_ms(self, entry: "Entry") -> int:
        """When the message's delay ends or, if it is in flight, its visibility timeout; whichever is later."""
        if not self.is_delayed(entry):
            return entry.visible_ms
        return max(entry.visible_ms, step_from(entry.sent_ms) + self.delay_s * 1000)

    def add(self, entry: "Entry") -> None:
        """One delayed message more."""
        self._counts.add(entry.sent_ms, 0)

    def remove(self, entry: "Entry") -> None:
        """One delayed message less."""
        self._counts.remove(step_from(entry.sent_ms))

    def next_ms(self) -> int | None:
        """When the next delay ends."""
        sent_ms = self._counts.next_ms()
        return None if sent_ms is None else sent_ms + self.delay_s * 1000
