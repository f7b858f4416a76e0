"""Messages in flight: received, not deleted, hidden until their visibility timeout ends (SQS developer guide)."""

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from amply.broker.engine.records import Entry
    from amply.broker.engine.tenants import Tenants


class InFlight:
    """A queue's messages in flight by seq, and in order of when they become visible again.

    `tenants` is told of those that belong to one.
    """

    __slots__ = ("_entries", "_tenants", "_timeouts")

    def __init__(self, entries: "Iterable[Entry]" = (), tenants: "Tenants | None" = None) -> None:
        self._entries: dict[int, Entry] = {}
        self._tenants = tenants
        for entry in entries:
            self._came(entry)
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
        self._came(entry)
        heappush(self._timeouts, (entry.visible_ms, entry.seq))
        if len(self._timeouts) > 2 * len(self._entries) + 64:
            # A lease extended again and again leaves stale moments behind.
            self._timeouts = [(entry.visible_ms, seq) for seq, entry in self._entries.items()]
            heapify(self._timeouts)

    def pop(self, seq: int) -> "Entry | None":
        """Take one message out, None if it is not here."""
        entry = self._entries.pop(seq, None)
        if entry is not None and entry.group_id is not None:
            self._left(entry.group_id)
        return entry

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
                if entry.group_id is not None:
                    self._left(entry.group_id)
                due.append(entry)
        return due

    def _came(self, entry: "Entry") -> None:
        self._entries[entry.seq] = entry
        if self._tenants is not None and entry.group_id is not None:
            self._tenants.came(entry.group_id, len(self._entries))

    def _left(self, group_id: str) -> None:
        if self._tenants is not None:
            self._tenants.left(group_id, len(self._entries))

    def next_ms(self) -> int | None:
        """A moment before which no timeout ends, None if nothing is in flight."""
        return self._timeouts[0][0] if self._timeouts else None
