"""The forgetful store: the whole port in memory, for tests and simulations. Nothing survives the process."""

import bisect
from collections.abc import Iterable, Sequence
from operator import attrgetter

from amply.broker.engine.records import (
    AFTER_ALL,
    Added,
    Attempted,
    Change,
    Content,
    Deduplicated,
    Entry,
    MoveTask,
    MoveTaskForgotten,
    MoveTaskPut,
    QueuePut,
    QueueRecord,
    QueueRemoved,
    Removed,
)
from amply.broker.sqs import limits
from amply.broker.store.port import Aged, Page, Peeked, QueueState, Room, Snapshot
from amply.broker.store.rows import size_bytes as stored_bytes

_DEDUPLICATED_MS = limits.AWS.deduplication_window_s * 1000
_ATTEMPTED_MS = limits.AWS.attempt_window_s * 1000
_DELAYED_MS = limits.AWS.delay_s_max * 1000

_LOOKED_AT = 50  # few, so that tests with few messages see that there is a bound

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
        self._deduplicated: list[Deduplicated] = []
        self._attempts: dict[tuple[int, str], Attempted] = {}
        self._move_tasks: dict[str, MoveTask] = {}
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
            deduplicated=[one for one in self._deduplicated if one.sent_ms > now_ms - _DEDUPLICATED_MS],
            attempts=sorted(
                (one for one in self._attempts.values() if one.attempt.received_ms > now_ms - _ATTEMPTED_MS),
                key=lambda one: one.attempt.received_ms,
            ),
            move_tasks=sorted(self._move_tasks.values(), key=lambda task: (task.started_ms, task.task_id)),
            secret=self._secret,
        )

    def _state(self, queue: QueueRecord, now_ms: int) -> QueueState:
        entries = sorted(self._on(queue.shelf), key=_IN_HANDING_ORDER)
        later = [entry for entry in entries if entry.visible_ms > now_ms]
        delayed: dict[int, int] = {}
        if queue.is_fifo:
            sent = [e.sent_ms for e in entries if e.sent_ms > now_ms - _DELAYED_MS and e.visible_ms <= now_ms]
            moments = [(sent_ms + 99) // 100 * 100 for sent_ms in sent]
        else:
            moments = [entry.visible_ms for entry in later if entry.receive_count == 0 and not entry.is_claimed]
        for moment_ms in moments:
            delayed[moment_ms] = delayed.get(moment_ms, 0) + 1
        return QueueState(
            queue=queue,
            messages=len(entries),
            in_flight=[entry for entry in later if entry.receive_count > 0 or entry.is_claimed],
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
            elif isinstance(change, Deduplicated):
                self._deduplicated.append(change)
            elif isinstance(change, Attempted):
                self._attempts[change.shelf, change.attempt_id] = change
            elif isinstance(change, MoveTaskPut):
                self._move_tasks[change.task.task_id] = change.task
            elif isinstance(change, MoveTaskForgotten):
                self._move_tasks.pop(change.task_id, None)
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
        order = self._order.get(shelf, [])
        later = order[bisect.bisect_right(order, after) :]
        return self._page((seq for visible_ms, seq in later if visible_ms <= until_ms), count, size_bytes)

    def ready_without(
        self, shelf: int, after: tuple[int, int], until_ms: int, limits: tuple[int, int], groups: Sequence[str]
    ) -> tuple[Page, tuple[int, int]]:
        """As `ready`, but without the messages of some groups; and how far it got."""
        order = self._order.get(shelf, [])
        later = [place for place in order[bisect.bisect_right(order, after) :] if place[0] <= until_ms]
        seqs = (seq for _, seq in later[:_LOOKED_AT] if self._entries[seq].group_id not in groups)
        page = self._page(seqs, *limits)
        if not page.is_last:
            return page, _IN_HANDING_ORDER(page.messages[-1][0])
        if len(later) > _LOOKED_AT:
            return Page(page.messages, [], is_last=False), later[_LOOKED_AT - 1]
        return page, (until_ms, AFTER_ALL)

    def in_order(self, shelf: int, after: tuple[int, int], until: tuple[int, int], count: int, size_bytes: int) -> Page:
        """Up to `count` messages with (sent_ms, seq) > `after`, and a sent_ms or a seq up to `until`, in that order."""
        entries = sorted(self._on(shelf), key=_BY_AGE)
        until_ms, until_seq = until
        later = (entry for entry in entries if _BY_AGE(entry) > after)
        seqs = (entry.seq for entry in later if entry.sent_ms <= until_ms or entry.seq <= until_seq)
        return self._page(seqs, count, size_bytes)

    def peek(self, shelf: int, after: tuple[int, int], count: int, size_bytes: int) -> Peeked:
        """Up to `count` messages with (sent_ms, seq) > `after`, in that order, whatever state they are in."""
        page = self.in_order(shelf, after, (AFTER_ALL, AFTER_ALL), count, size_bytes)
        return Peeked(page.messages, 0, None if page.is_last else _BY_AGE(page.messages[-1][0]))

    def fetch(self, shelf: int, seqs: Sequence[int], size_bytes: int) -> Page:
        """Those of the messages that lie on the shelf, in the order asked for."""
        here = (seq for seq in seqs if seq in self._entries and self._entries[seq].shelf == shelf)
        return self._page(here, len(seqs), size_bytes)

    def _page(self, seqs: Iterable[int], count: int, size_bytes: int) -> Page:
        messages: list[tuple[Entry, Content]] = []
        for seq in seqs:
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
