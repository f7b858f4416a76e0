"""Waiting messages of a FIFO queue whose content is at hand; that of the others is on disk only."""

from collections import OrderedDict
from typing import TYPE_CHECKING

from amply.broker.engine.window import size_bytes

if TYPE_CHECKING:
    from amply.broker.engine.records import Content, Entry
    from amply.broker.engine.window import WindowSize


class Contents:
    """Messages with their content, a bounded number of them; the first are those needed soonest."""

    __slots__ = ("_bytes", "_messages", "size")

    def __init__(self, size: "WindowSize") -> None:
        self.size = size
        self._messages: OrderedDict[int, tuple[Entry, Content]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._messages)

    def __contains__(self, seq: int) -> bool:
        return seq in self._messages

    def is_low(self) -> bool:
        """Whether it is time for more: early enough that receivers do not have to wait for it."""
        return len(self._messages) * 4 < self.size.count and self._bytes * 2 < self.size.size_bytes

    def keep(self, entry: "Entry", content: "Content") -> None:
        """Hold a message that will be needed after all that are here, if there is room."""
        if len(self._messages) < self.size.count and self._bytes < self.size.size_bytes:
            self._put(entry, content)

    def keep_first(self, entry: "Entry", content: "Content") -> None:
        """Hold a message that will be needed next; those needed last make room."""
        self._put(entry, content)
        self._messages.move_to_end(entry.seq, last=False)
        while len(self._messages) > 1 and (len(self._messages) > self.size.count or self._bytes > self.size.size_bytes):
            self._bytes -= size_bytes(self._messages.popitem()[1][1])

    def get(self, seq: int) -> "tuple[Entry, Content] | None":
        """A message, None if it is not here."""
        return self._messages.get(seq)

    def pop(self, seq: int) -> "tuple[Entry, Content] | None":
        """Take one message out, None if it is not here."""
        found = self._messages.pop(seq, None)
        if found is not None:
            self._bytes -= size_bytes(found[1])
        return found

    def _put(self, entry: "Entry", content: "Content") -> None:
        self.pop(entry.seq)
        self._messages[entry.seq] = (entry, content)
        self._bytes += size_bytes(content)
