"""The head of a queue's ready messages, with their content, in memory. The rest waits on disk.

However many messages wait, a window holds a bounded number of them. Every ready message is either in the window or on
disk behind the cursor; a message that becomes ready again joins those on disk, and the cursor goes back if it has to.
"""

from collections import OrderedDict
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable

    from amply.broker.engine.records import Content, Entry

START = (-1, -1)
_AFTER_ALL_SEQS = 1 << 62


class WindowSize(Struct, frozen=True):
    """How much of a queue may be in memory. Bodies and attributes count as bytes."""

    count: int = 1000
    size_bytes: int = 4 * 1024 * 1024


def size_bytes(content: "Content") -> int:
    """What a message takes of a window's size."""
    return len(content.body) + 256 * len(content.attributes)


class Window:
    """Ready messages in the order (visible_ms, seq) in which they became ready."""

    __slots__ = ("_bytes", "_messages", "_rewound", "cursor", "is_reading", "on_disk", "size")

    def __init__(self, size: WindowSize, *, on_disk: int = 0) -> None:
        self.size = size
        self.on_disk = on_disk  # ready messages that are not in the window
        self.cursor = START  # every ready message on disk lies behind this key
        self.is_reading = False
        self._rewound: tuple[int, int] | None = None  # where the cursor must go back to after the current read
        self._messages: OrderedDict[int, tuple[Entry, Content]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._messages)

    def __contains__(self, seq: int) -> bool:
        return seq in self._messages

    def add(self, entry: "Entry", content: "Content") -> None:
        """A message just became ready, and its content is at hand: keep it here if nothing waits on disk before it."""
        if (
            self.on_disk == 0
            and not self.is_reading
            and len(self._messages) < self.size.count
            and self._bytes < self.size.size_bytes
        ):
            self._put(entry, content)
            self.cursor = max(self.cursor, (entry.visible_ms, entry.seq))
        else:
            self.leave_on_disk(entry.visible_ms, entry.seq)

    def leave_on_disk(self, visible_ms: int, seq: int, count: int = 1) -> None:
        """Messages became ready, the first of them at this key; their content is on disk only."""
        self.on_disk += count
        before = (visible_ms, seq - 1)
        self.cursor = min(self.cursor, before)
        if self.is_reading and (self._rewound is None or before < self._rewound):
            self._rewound = before

    def pop_first(self) -> "tuple[Entry, Content]":
        """Take the message that has been ready longest."""
        entry, content = self._messages.popitem(last=False)[1]
        self._bytes -= size_bytes(content)
        return entry, content

    def pop(self, seq: int) -> "Entry | None":
        """Take one message out, None if it is not here."""
        found = self._messages.pop(seq, None)
        if found is None:
            return None
        self._bytes -= size_bytes(found[1])
        return found[0]

    def wants_more(self) -> bool:
        """Whether it is time to read on from disk: early enough that receivers do not have to wait for it."""
        return self.on_disk > 0 and not self.is_reading and len(self._messages) * 4 < self.size.count

    def start_reading(self) -> tuple[int, int]:
        """From now until `finish_reading`, what becomes ready may be missing from what is read.

        Returns how many messages, and how many bytes of them, there is room for.
        """
        self.is_reading = True
        self._rewound = None
        return self.size.count - len(self._messages), max(0, self.size.size_bytes - self._bytes)

    def finish_reading(
        self, messages: "list[tuple[Entry, Content]]", is_known: "Callable[[int], bool]", read_to_ms: int | None
    ) -> bool:
        """Take in what was read, but for messages whose truth is in memory already (`is_known`, by seq).

        `read_to_ms` is the moment up to which nothing more was ready on disk, None if there is more. Returns whether
        everything on disk that this read could see has been seen: False once more became ready meanwhile.
        """
        self.is_reading = False
        for entry, content in messages:
            self.cursor = (entry.visible_ms, entry.seq)
            if entry.seq not in self._messages and not is_known(entry.seq):
                self._put(entry, content)
                self.on_disk -= 1
        if read_to_ms is not None:
            self.cursor = (read_to_ms, _AFTER_ALL_SEQS)
        if self._rewound is not None:
            self.cursor = min(self.cursor, self._rewound)
        return read_to_ms is not None and self._rewound is None

    def start_again(self) -> None:
        """Read everything on disk again, from the first message on."""
        self.cursor = START

    def _put(self, entry: "Entry", content: "Content") -> None:
        self._messages[entry.seq] = (entry, content)
        self._bytes += size_bytes(content)
