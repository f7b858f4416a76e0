"""What a command leads to: the answer, the changes to make durable first, who may wake, and what to look up on disk."""

from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import Struct

from amply.broker.engine.records import Change, Content, Entry

if TYPE_CHECKING:
    from amply.broker.engine.commands import ChangeVisibility, Delete, QueueKey, Ticket


class Delivery(Struct, frozen=True, gc=False):
    """A message handed to a receiver. With `entry` it says all that its receipt handle must say."""

    queue_id: int
    received_ms: int
    entry: Entry
    content: Content


class Unsettled(Struct, frozen=True):
    """The answer of a command that comes later: a parked receive, or a command that waits for a look-up on disk."""


UNSETTLED = Unsettled()


# `issued` orders a look-up among the changes that may outdate what it finds.


class ReadReady(Struct, frozen=True):
    """Look up the next ready messages on disk; `Engine.ready_were_read` takes the answer."""

    shelf: int
    issued: int
    after: tuple[int, int]
    until_ms: int
    count: int
    size_bytes: int


class ReadQuiet(Struct, frozen=True):
    """The same, but for the messages of some tenants; `Engine.quiet_were_read` takes the answer."""

    shelf: int
    issued: int
    after: tuple[int, int]
    until_ms: int
    count: int
    size_bytes: int
    without: tuple[str, ...]


class ReadInOrder(Struct, frozen=True):
    """Look up the next messages of a FIFO queue, in the order of sending; `Engine.were_read_in_order` takes them.

    `until`: those sent up to a moment, or up to a number.
    """

    shelf: int
    issued: int
    after: tuple[int, int]
    until: tuple[int, int]
    count: int
    size_bytes: int


class Fetch(Struct, frozen=True):
    """Look up messages with their content; for the poll `ticket` if any; `Engine.were_fetched` takes them."""

    shelf: int
    issued: int
    seqs: list[int]
    size_bytes: int
    ticket: "Ticket | None"


class ReadAged(Struct, frozen=True):
    """Look up the messages sent before a moment; `Engine.aged_were_read` takes the answer."""

    shelf: int
    issued: int
    before_ms: int
    count: int


class Find(Struct, frozen=True):
    """Look up messages that are not in memory; `Engine.were_found` takes the answer and carries on with `then`."""

    shelf: int
    issued: int
    seqs: list[int]
    then: "Delete | ChangeVisibility"


Read: TypeAlias = ReadReady | ReadQuiet | ReadInOrder | Fetch | ReadAged | Find


class Decision:
    """The effects of one command, collected while it runs.

    The answers may leave only when the changes are durable. `reads` see everything up to and including `changes`.
    """

    __slots__ = ("answer", "changes", "moved_to", "reads", "woken")

    def __init__(self) -> None:
        self.answer: Any = None
        self.changes: list[Change] = []
        self.woken: list[tuple[Ticket, list[Delivery]]] = []
        self.reads: list[Read] = []
        self.moved_to: list[QueueKey] = []  # dead letter queues that got messages, for whoever polls there
