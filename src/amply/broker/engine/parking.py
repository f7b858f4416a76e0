"""Parked polls: receives that found nothing and wait, first come first served."""

from collections import OrderedDict
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from amply.broker.engine.commands import Receive, Ticket


class Parking:
    """The parked polls of one queue, in order of arrival, each with its deadline.

    Leaving is O(1) and finding the due ones O(log n): a thousand idle workers cost the busy ones nothing.
    """

    __slots__ = ("_deadlines", "_polls")

    def __init__(self) -> None:
        self._polls: OrderedDict[Ticket, tuple[Receive, int]] = OrderedDict()
        self._deadlines: list[tuple[int, Ticket]] = []

    def __len__(self) -> int:
        return len(self._polls)

    def park(self, poll: "Receive", deadline_ms: int) -> None:
        """Wait at the end of the line."""
        self._polls[poll.ticket] = (poll, deadline_ms)
        heappush(self._deadlines, (deadline_ms, poll.ticket))
        if len(self._deadlines) > 2 * len(self._polls) + 64:
            # Polls that were served leave their deadlines behind.
            self._deadlines = [(deadline_ms, ticket) for ticket, (_, deadline_ms) in self._polls.items()]
            heapify(self._deadlines)

    def first(self) -> "Receive":
        """The poll that has waited longest."""
        return next(iter(self._polls.values()))[0]

    def leave(self, ticket: "Ticket") -> bool:
        """Take a poll out, served or not; False if it was not here."""
        return self._polls.pop(ticket, None) is not None

    def next_deadline_ms(self) -> int | None:
        """When the next poll must be answered, None if none waits."""
        deadlines = self._deadlines
        while deadlines and deadlines[0][1] not in self._polls:
            heappop(deadlines)
        return deadlines[0][0] if deadlines else None

    def pop_due(self, now_ms: int) -> "Iterator[Ticket]":
        """Take out the polls whose deadline has come."""
        while (deadline_ms := self.next_deadline_ms()) is not None and deadline_ms <= now_ms:
            ticket = heappop(self._deadlines)[1]
            del self._polls[ticket]
            yield ticket

    def pop_all(self) -> "Iterator[Ticket]":
        """Take out everybody."""
        while self._polls:
            yield self._polls.popitem(last=False)[0]
        self._deadlines.clear()
