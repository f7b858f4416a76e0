"""The seam between the broker and whatever keeps its facts: few verbs, all called from one thread.

Internal: it may change whenever the broker needs it to. `tests/broker/store/test_conformance.py` runs every
implementation through the same behaviours.
"""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from amply.broker.engine.records import Attempted, Change, Content, Deduplicated, Entry, MoveTask, QueueRecord
from amply.errors import AmplyError


class StoreError(AmplyError):
    """The store cannot do what was asked."""


class StoreLocked(StoreError):
    """Another process owns the data folder."""

    exit_code = 4


class StoreDamaged(StoreError):
    """What is on disk is not what was written; nothing was changed."""


class StoreTooNew(StoreError):
    """The data folder was written by a newer version."""


class StoreFull(StoreError):
    """No room to commit, not even with the reserve. Nothing of the commit was kept; the store is still usable."""


class StoreBroken(StoreError):
    """The disk refused a read, a write or a sync. The process must stop: only a fresh start knows what is true."""


class QueueState(Struct, frozen=True, kw_only=True):
    """A queue at start: the record, and what the engine must hold in memory from the first moment.

    `delayed` counts the messages never received that become visible later, by `visible_ms`; of a FIFO queue, whose
    delay may change afterwards, all that were sent within the longest delay and are not in flight, by `sent_ms` in
    steps of 100 ms, rounded up. `oldest_sent_ms` is that of the oldest message, None for an empty queue.
    """

    queue: QueueRecord
    messages: int
    in_flight: list[Entry]
    delayed: dict[int, int]
    oldest_sent_ms: int | None


class Snapshot(Struct, frozen=True, kw_only=True):
    """All that a broker needs to answer its first request. Its size does not depend on how many messages wait."""

    queues: list[QueueState]
    removed_queues: dict[tuple[str, str], int]  # (account, name) -> removed_ms, of the last 60 s
    last_seq: int
    last_id: int  # the highest queue_id or shelf ever given out
    deduplicated: list[Deduplicated]  # of the last five minutes, oldest first, as the next one
    attempts: list[Attempted]
    move_tasks: list[MoveTask]  # by their start
    secret: bytes  # 32 random bytes, made with the store: receipt handles are signed with them


class Page(Struct, frozen=True):
    """The next ready messages. `damaged` names those whose checksum failed: quarantined, and never served."""

    messages: list[tuple[Entry, Content]]
    damaged: list[int]
    is_last: bool  # nothing else was ready up to `until_ms`


class Peeked(Struct, frozen=True):
    """Messages as they lie there. `damaged` counts those whose checksum failed; they are left where they are.

    `read_to` is the (sent_ms, seq) up to which everything was looked at, None if nothing comes after it.
    """

    messages: list[tuple[Entry, Content]]
    damaged: int
    read_to: tuple[int, int] | None


class Aged(Struct, frozen=True):
    """The messages sent before a moment, oldest first, and when the oldest of all others was sent."""

    entries: list[Entry]
    next_oldest_ms: int | None


class Room(Struct, frozen=True):
    """Disk room. While `is_full`, the broker takes no new messages, so that receives and deletes still can commit."""

    is_full: bool
    free_bytes: int


class Store(Protocol):
    """What the broker asks of its memory. Every method may raise `StoreBroken`."""

    @property
    def last_ms(self) -> int:
        """The broker time of the last commit, in epoch milliseconds; 0 for a new store."""

    def load(self, now_ms: int) -> Snapshot:
        """Everything that is in flight, delayed or declared at `now_ms`."""

    def commit(self, changes: Sequence[Change], now_ms: int) -> None:
        """Make the changes durable, all or nothing. On return they survive a power cut."""

    def ready(self, shelf: int, after: tuple[int, int], until_ms: int, count: int, size_bytes: int) -> Page:
        """Up to `count` messages with (visible_ms, seq) > `after` and visible_ms <= `until_ms`, in that order.

        Stops early once their bodies and attributes pass `size_bytes`, but gives at least one if there is one.
        """

    def ready_without(
        self, shelf: int, after: tuple[int, int], until_ms: int, limits: tuple[int, int], groups: Sequence[str]
    ) -> tuple[Page, tuple[int, int]]:
        """As `ready` with `limits` (count, size_bytes), but without the messages of some groups.

        Looks at a bounded number of messages. Also returns how far it got, as (visible_ms, seq).
        """

    def in_order(self, shelf: int, after: tuple[int, int], until: tuple[int, int], count: int, size_bytes: int) -> Page:
        """The same by (sent_ms, seq), whatever became of the messages since.

        Up to those with a sent_ms, or a seq, of at most what `until` says.
        """

    def peek(self, shelf: int, after: tuple[int, int], count: int, size_bytes: int) -> Peeked:
        """Up to `count` messages with (sent_ms, seq) > `after`, in that order, whatever state they are in.

        Stops early as `ready` does. Writes nothing.
        """

    def fetch(self, shelf: int, seqs: Sequence[int], size_bytes: int) -> Page:
        """Those of the messages that lie on the shelf, in the order asked for; stops early as `ready` does."""

    def find(self, seqs: Sequence[int]) -> list[Entry]:
        """Those of the messages that exist."""

    def sent_before(self, shelf: int, before_ms: int, count: int) -> Aged:
        """Up to `count` messages with sent_ms < `before_ms`."""

    def tend(self) -> Room:
        """Called about once a second: clear a little of the abandoned shelves, look after the reserve."""

    def close(self) -> None:
        """Give the folder up. Nothing committed is lost without it."""
