"""The forgetful store: the whole port in memory, for tests and simulations. Nothing survives the process."""

import bisect
from collections.abc import Sequence
from operator import attrgetter

from amply.broker.engine.records import (
    Added,
    Change,
    Content,
    Entry,
    QueuePut,
    QueueRecord,
    QueueRemoved,
    Removed,
)
from amply.broker.sqs import limits
from amply.broker.store.port import Aged, Page, QueueState, Room, Snapshot
from amply.broker.store.rows import size_bytes as stored_bytes

_IN_HANDING_ORDER = attrgetter("visible_ms", "seq")
_BY_AGE = attrgetter("sent_ms", "seq")


class MemoryStore:
    """A `Store` that keeps nothing; to everything else it behaves as `SqliteStore` does."""

    def __init__(self, secret: bytes = bytes(32)) -> None:
        self._secret = secret
        self._queues: dict[int, QueueRecord] = {}
        self._removed_queues: dict[tuple[str, str], int] = {}
        self._order: dict[int, list[tuple[int, int]]] = {}  # shelf -> (visible_ms, seq), sorted
        self._entries: dict[int, Entry] = {}
        self._contents: dict[int, Content] = {}
        self._last_ms = self._last_seq = self._last_id = 0

    @property
    def last_ms(self) -> int:
        """The broker time of the last commit, in epoch milliseconds; 0 for a new store."""
        return self._last_ms

    def load(self, now_ms: int) -> Snapshot:
        """Everything that is in flight, delayed or declared at `now_ms`."""
        remembered_from_ms = now_ms - limits.AWS.recreate_interval_s * 1000
        return Snapshot(
            queues=[self._state(self._queues[queue_id], now_ms) for queue_id in sorted(self._queues)],
            removed_queues={who: ms for who, ms in self._removed_queues.items() if ms > remembered_from_ms},
            last_seq=self._last_seq,
            last_id=self._last_id,
            secret=self._secret,
        )

    def _state(self, queue: QueueRecord, now_ms: int) -> QueueState:
        entries = sorted(self._on(queue.shelf), key=_IN_HANDING_ORDER)
        later = [entry for entry in entries if entry.visible_ms > now_ms]
        delayed: dict[int, int] = {}
        for entry in later:
            if entry.receive_count == 0:
                delayed[entry.visible_ms] = delayed.get(entry.visible_ms, 0) + 1
        return QueueState(
            queue=queue,
            messages=len(entries),
            in_flight=[entry for entry in later if entry.receive_count > 0],
            delayed=delayed,
            oldest_sent_ms=min((entry.sent_ms for entry in entries), default=None),
        )

    def commit(self, changes: Sequence[Change], now_ms: int) -> None:
        """Take the changes in, one after the other."""
        if not changes:
            return
        for change in changes:
            if isinstance(change, QueuePut):
                self._put_queue(change.queue)
            elif isinstance(change, QueueRemoved):
                self._clear_shelf(self._queues.pop(change.queue_id).shelf)
                self._removed_queues[change.account, change.name] = change.removed_ms
            elif isinstance(change, Removed):
                self._lift(change.seq)
                del self._contents[change.seq]
            else:
                if isinstance(change, Added):
                    self._contents[change.entry.seq] = change.content
                    self._last_seq = max(self._last_seq, change.entry.seq)
                else:
                    self._lift(change.entry.seq)
                self._entries[change.entry.seq] = change.entry
                bisect.insort(self._order[change.entry.shelf], _IN_HANDING_ORDER(change.entry))
        self._last_ms = max(self._last_ms, now_ms)

    def _put_queue(self, queue: QueueRecord) -> None:
        before = self._queues.get(queue.queue_id)
        if before is not None and before.shelf != queue.shelf:
            self._clear_shelf(before.shelf)
        self._order.setdefault(queue.shelf, [])
        self._queues[queue.queue_id] = queue
        self._last_id = max(self._last_id, queue.queue_id, queue.shelf)

    def _clear_shelf(self, shelf: int) -> None:
        for _, seq in self._order.pop(shelf):
            del self._entries[seq], self._contents[seq]

    def _lift(self, seq: int) -> None:
        entry = self._entries.pop(seq)
        order = self._order[entry.shelf]
        del order[bisect.bisect_left(order, _IN_HANDING_ORDER(entry))]

    def _on(self, shelf: int) -> list[Entry]:
        return [self._entries[seq] for _, seq in self._order.get(shelf, ())]

    def ready(self, shelf: int, after: tuple[int, int], until_ms: int, count: int, size_bytes: int) -> Page:
        """Up to `count` messages with (visible_ms, seq) > `after` and visible_ms <= `until_ms`, in that order."""
        messages: list[tuple[Entry, Content]] = []
        order = self._order.get(shelf, [])
        for visible_ms, seq in order[bisect.bisect_right(order, after) :]:
            if visible_ms > until_ms:
                break
            content = self._contents[seq]
            size_bytes -= stored_bytes(content)
            if len(messages) == count or (messages and size_bytes < 0):
                return Page(messages, [], is_last=False)
            messages.append((self._entries[seq], content))
        return Page(messages, [], is_last=True)

    def find(self, seqs: Sequence[int]) -> list[Entry]:
        """Those of the messages that exist, by rising seq."""
        return [self._entries[seq] for seq in sorted(set(seqs)) if seq in self._entries]

    def sent_before(self, shelf: int, before_ms: int, count: int) -> Aged:
        """Up to `count` messages with sent_ms < `before_ms`."""
        by_age = sorted(self._on(shelf), key=_BY_AGE)
        entries = [entry for entry in by_age[:count] if entry.sent_ms < before_ms]
        others = by_age[len(entries) :]
        return Aged(entries, others[0].sent_ms if others else None)

    def tend(self) -> Room:
        """Memory is never full."""
        return Room(is_full=False, free_bytes=1 << 62)

    def close(self) -> None:
        """Nothing to give up."""
