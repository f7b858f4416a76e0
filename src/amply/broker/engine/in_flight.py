"""Messages in flight: received, not deleted, hidden until their visibility timeout ends (SQS developer guide)."""

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from amply.broker.engine.records import Entry


class InFlight:
    """A queue's messages in flight by seq, and in order of when they become visible again."""

    __slots__ = ("_entries", "_timeouts")

    def __init__(self, entries: "Iterable[Entry]" = ()) -> None:
        self._entries = {entry.seq: entry for entry in entries}
        self._timeouts = [(entry.visible_ms, entry.seq) for entry in self._entries.values()]
        heapify(self._timeouts)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, seq: int) -> bool:
        return seq in self._entries

    def get(self, seq: int) -> "Entry | None":
        """The message's entry as of its last change."""
        return self._entries.get(seq)

    def put(self, entry: "Entry") -> None:
        """Hide a message until its `visible_ms`."""
        self._entries[entry.seq] = entry
        heappush(self._timeouts, (entry.visible_ms, entry.seq))
        if len(self._timeouts) > 2 * len(self._entries) + 64:
            # A lease extended again and again leaves stale moments behind.
            self._timeouts = [(entry.visible_ms, seq) for seq, entry in self._entries.items()]
            heapify(self._timeouts)

    def pop(self, seq: int) -> "Entry | None":
        """Take one message out, None if it is not here."""
        return self._entries.pop(seq, None)

    def pop_due(self, now_ms: int) -> "Sequence[Entry]":
        """Take out the messages whose timeout has ended, in the order in which they ended."""
        timeouts = self._timeouts
        if not timeouts or timeouts[0][0] > now_ms:
            return ()
        due = []
        while timeouts and timeouts[0][0] <= now_ms:
            visible_ms, seq = heappop(timeouts)
            entry = self._entries.get(seq)
            if entry is not None and entry.visible_ms == visible_ms:
                del self._entries[seq]
                due.append(entry)
        return due

    def next_ms(self) -> int | None:
        """A moment before which no timeout ends, None if nothing is in flight."""
        return self._timeouts[0][0] if self._timeouts else None
