"""The message groups of a FIFO queue: who waits in which, and which groups nobody holds a message of.

Source: SQS developer guide, "FIFO queue delivery logic".
"""

from heapq import heapify, heappop, heappush, nsmallest
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# One receive takes at most so many messages of a group.
_OF_A_GROUP = 10


class Groups:
    """The waiting messages that memory knows, by group and in order of sending; and how many of each are in flight.

    A group with a message in flight is locked. Of the others, the one whose first message is the oldest comes first.
    """

    __slots__ = ("_group_of", "_heads", "_locks", "_waiting")

    def __init__(self) -> None:
        self._group_of: dict[int, str] = {}
        self._waiting: dict[str, list[int]] = {}  # heaps of seqs
        self._locks: dict[str, int] = {}
        self._heads: list[tuple[int, str]] = []  # heap of the first messages of groups that are free; some are stale

    def __len__(self) -> int:
        """How many messages wait."""
        return len(self._group_of)

    def __contains__(self, seq: int) -> bool:
        """Whether the message waits."""
        return seq in self._group_of

    def wait(self, seq: int, group: str) -> None:
        """A message stands in line, at its place in the order of sending."""
        self._group_of[seq] = group
        line = self._waiting.setdefault(group, [])
        heappush(line, seq)
        if line[0] == seq:
            self._announce(group)

    def remove(self, seq: int) -> None:
        """A waiting message is taken, or gone."""
        group = self._group_of.pop(seq)
        line = self._waiting[group]
        if line[0] == seq:
            heappop(line)
            if line:
                self._announce(group)
            else:
                del self._waiting[group]
        else:
            line.remove(seq)
            heapify(line)

    def lock(self, group: str) -> None:
        """One more message of the group is in flight."""
        self._locks[group] = self._locks.get(group, 0) + 1

    def unlock(self, group: str) -> None:
        """One less; without any, the group is free."""
        left = self._locks.pop(group) - 1
        if left:
            self._locks[group] = left
        elif group in self._waiting:
            self._announce(group)

    def first(self) -> str | None:
        """The free group whose first message was sent before those of the others, None if none is free."""
        heads = self._heads
        while heads and not self._is_free(*heads[0]):
            heappop(heads)
        return heads[0][1] if heads else None

    def head(self, group: str) -> int | None:
        """The first message of a group, None if none waits."""
        line = self._waiting.get(group)
        return line[0] if line else None

    def next_up(self, count: int) -> "Iterator[int]":
        """At most so many of the messages that free groups will give first: the fewer groups, the more of each."""
        heads = nsmallest(count // _OF_A_GROUP, self._heads)
        groups = dict.fromkeys(group for seq, group in heads if self._is_free(seq, group))
        for group in groups:
            yield from _smallest(self._waiting[group], count // len(groups))

    def _is_free(self, seq: int, group: str) -> bool:
        return group not in self._locks and self.head(group) == seq

    def _announce(self, group: str) -> None:
        if group in self._locks:
            return
        heads = self._heads
        heappush(heads, (self._waiting[group][0], group))
        if len(heads) > 2 * len(self._waiting) + 64:
            self._heads = [(line[0], name) for name, line in self._waiting.items() if name not in self._locks]
            heapify(self._heads)


def _smallest(heap: list[int], count: int) -> "Iterator[int]":
    """The smallest of a heap in order, in a time that does not depend on how long it is."""
    reached = [(heap[0], 0)]
    while reached and count:
        count -= 1
        smallest, place = heappop(reached)
        yield smallest
        for child in (2 * place + 1, 2 * place + 2):
            if child < len(heap):
                heappush(reached, (heap[child], child))
