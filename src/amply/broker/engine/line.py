"""The head of a FIFO queue: the messages that memory knows to wait, and how more of them come from disk.

Every message up to the cursor, in the order of sending, is in flight or waits here. Those behind it, and the contents
of most that wait, are on disk only.
"""

from typing import TYPE_CHECKING

from amply.broker.engine.contents import Contents
from amply.broker.engine.groups import Groups
from amply.broker.engine.window import START

if TYPE_CHECKING:
    from collections.abc import Callable

    from amply.broker.engine.records import Content, Entry
    from amply.broker.engine.window import WindowSize

_FETCHED = 500


class Line:
    """Waiting messages by group, some of them with their content. One read from disk at a time."""

    __slots__ = ("_is_disturbed", "_rewound", "contents", "cursor", "groups", "is_fetching", "is_reading")

    def __init__(self, size: "WindowSize") -> None:
        self.groups = Groups()
        self.contents = Contents(size)
        self.cursor = START
        self.is_reading = False  # the next messages in order are on their way
        self.is_fetching = False  # contents are on their way
        self._is_disturbed = False  # something became visible behind the cursor since the read left
        self._rewound: tuple[int, int] | None = None  # where the cursor must go back to after it

    def add(self, entry: "Entry", content: "Content") -> None:
        """The last message of the queue, when all before it are known."""
        self.groups.wait(entry.seq, group_of(entry))
        self.contents.keep(entry, content)
        self.cursor = max(self.cursor, (entry.sent_ms, entry.seq))

    def leave_on_disk(self) -> None:
        """Messages became visible at the end of the queue."""
        self._is_disturbed = True

    def come_back(self, entry: "Entry") -> None:
        """A message that was in flight is visible again, at its old place."""
        if (entry.sent_ms, entry.seq) <= self.cursor:
            self.groups.wait(entry.seq, group_of(entry))
            return
        # It was received before the last restart, and the cursor has not come that far again.
        self._is_disturbed = True
        before = (entry.sent_ms, entry.seq - 1)
        if self.is_reading and (self._rewound is None or before < self._rewound):
            self._rewound = before

    def first(self) -> "tuple[Entry, Content] | None":
        """The message that can be given out first, None if there is none or its content is not here."""
        group = self.groups.first()
        head = None if group is None else self.groups.head(group)
        return None if head is None else self.contents.get(head)

    def has_ready(self) -> bool:
        """Whether a message can be given out now."""
        return self.first() is not None

    def pop_head(self, group: str) -> "tuple[Entry, Content] | None":
        """Take the first message of a group, None if there is none or its content is not here."""
        seq = self.groups.head(group)
        found = None if seq is None else self.contents.pop(seq)
        if found is not None:
            self.groups.remove(found[0].seq)
        return found

    def remove(self, seq: int) -> "Entry | None":
        """Take a waiting message out; its entry, if that is at hand."""
        self.groups.remove(seq)
        found = self.contents.pop(seq)
        return found[0] if found else None

    # Contents from disk

    def needs_contents(self) -> bool:
        """Whether a group is free and only the content of its first message is missing."""
        return self.groups.first() is not None and not self.has_ready()

    def start_fetching(self) -> list[int]:
        """The messages whose contents are needed first."""
        self.is_fetching = True
        next_up = self.groups.next_up(_FETCHED)
        return [seq for seq in next_up if seq not in self.contents][: self.contents.size.count]

    def finish_fetching(self, seqs: list[int], messages: "list[tuple[Entry, Content]]", *, is_last: bool) -> list[int]:
        """Take in contents. Returns the messages that are not on disk any more: they were damaged."""
        self.is_fetching = False
        for entry, content in reversed(messages):
            if entry.seq in self.groups:
                self.contents.keep_first(entry, content)
        if not is_last:
            return []
        arrived = {entry.seq for entry, _ in messages}
        gone = [seq for seq in seqs if seq not in arrived and seq in self.groups]
        for seq in gone:
            self.groups.remove(seq)
        return gone

    # More messages from disk

    def wants_more(self, *, is_awaited: bool) -> bool:
        """Whether to look further: contents run low, or somebody waits and every group is locked."""
        return self.contents.is_low() or (is_awaited and self.groups.first() is None)

    def start_reading(self) -> tuple[int, int]:
        """From now until `finish_reading`, what comes back may be missing from what is read. Returns the cursor."""
        self.is_reading, self._is_disturbed, self._rewound = True, False, None
        return self.cursor

    def finish_reading(
        self, messages: "list[tuple[Entry, Content]]", is_settled: "Callable[[int], bool]", *, is_last: bool
    ) -> bool:
        """Take in what was read, but for messages whose truth is in memory already (`is_settled`, by seq).

        Returns whether everything visible on disk has been seen.
        """
        self.is_reading = False
        for entry, content in messages:
            if self._rewound is not None and (entry.sent_ms, entry.seq) > self._rewound:
                break  # what came back comes first: read on from there, so that no group is out of order
            self.cursor = (entry.sent_ms, entry.seq)
            if not is_settled(entry.seq):
                self.groups.wait(entry.seq, group_of(entry))
                self.contents.keep(entry, content)
        return is_last and not self._is_disturbed

    def start_again(self) -> None:
        """Read everything on disk again, from the first message on."""
        self.cursor = START


def group_of(entry: "Entry") -> str:
    """The message's group; on a FIFO queue every message has one."""
    return entry.group_id or ""
