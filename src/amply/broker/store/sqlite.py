"""The durable store: the broker's facts in one SQLite database. Knows records and rows, never SQS's rules.

Used from one thread. The event loop's thread runs beside it, and every step of a statement hands Python's lock over
and takes it back; so many rows go into few statements.
"""

import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from amply.broker.engine.records import AFTER_ALL, Change, Content, Entry, QueuePut, QueueRecord, QueueRemoved
from amply.broker.sqs import limits
from amply.broker.store import rows
from amply.broker.store.database import Database, Execute
from amply.broker.store.named_sql import QUERIES, stretches, widened
from amply.broker.store.net import NetEffect, net_effects
from amply.broker.store.port import Aged, Page, Peeked, QueueState, Room, Snapshot, StoreFull

_MIB = 1 << 20
_REMEMBERED_MS = limits.AWS.recreate_interval_s * 1000
_DEDUPLICATED_MS = limits.AWS.deduplication_window_s * 1000
_ATTEMPTED_MS = limits.AWS.attempt_window_s * 1000
_DELAYED_MS = limits.AWS.delay_s_max * 1000
_QUARANTINE = 0  # a shelf that no queue has
_CLEARED_A_TEND = 1000
# In one look for messages of quiet tenants: some milliseconds, for which commits wait.
_LOOKED_AT = 5000
# Every tend clears more than can have come in since the last, but not for a handful of rows.
_FORGOTTEN_A_TEND = 20_000
_FORGOTTEN_MS = _DEDUPLICATED_MS + 30_000

_log = logging.getLogger(__name__)


class SqliteStore:
    """A `Store` in `folder`, which is made if it is missing.

    `reserve_bytes` of the disk are kept free of new messages, so that receives and deletes can still be written.
    `ballast_bytes` more lie in a file that is given up when even that is gone. Raises `StoreLocked`, `StoreTooNew`,
    `StoreDamaged`, `StoreFull`, or `StoreError` if the folder is not private.
    """

    def __init__(self, folder: Path, *, reserve_bytes: int = 64 * _MIB, ballast_bytes: int = 16 * _MIB) -> None:
        self._database = Database(folder, reserve_bytes, ballast_bytes)
        with self._database.guarded():
            self._shelves: dict[int, int] = dict(self._database.execute(QUERIES["shelves"]))  # by queue_id
        self._quarantined: set[int] = set()
        self._may_have_abandoned = True

    @property
    def last_ms(self) -> int:
        """The broker time of the last commit, in epoch milliseconds; 0 for a new store."""
        return self._database.state.last_ms

    def load(self, now_ms: int) -> Snapshot:
        """Everything that is in flight, delayed or declared at `now_ms`."""
        execute = self._database.execute
        with self._database.guarded():
            removed = execute(QUERIES["removed_queues"], (now_ms - _REMEMBERED_MS,))
            state = self._database.state
            return Snapshot(
                queues=[self._queue_state(row, now_ms) for row in execute(QUERIES["queues"]).fetchall()],
                removed_queues={(account, name): removed_ms for account, name, removed_ms in removed},
                last_seq=state.last_seq,
                last_id=state.last_id,
                deduplicated=[
                    rows.deduplication_of(row)
                    for row in execute(QUERIES["deduplications"], (now_ms - _DEDUPLICATED_MS,))
                ],
                attempts=[rows.attempt_of(row) for row in execute(QUERIES["attempts"], (now_ms - _ATTEMPTED_MS,))],
                move_tasks=[rows.move_task_of(row) for row in execute(QUERIES["move_tasks"])],
                secret=state.secret,
            )

    def _queue_state(self, row: rows.Row, now_ms: int) -> QueueState:
        *columns, messages, oldest_sent_ms = row
        execute = self._database.execute
        queue = rows.queue_of(columns)
        delayed = execute(QUERIES["delayed"], (queue.shelf, now_ms))
        if queue.is_fifo:
            delayed = execute(QUERIES["sent_recently"], (queue.shelf, now_ms - _DELAYED_MS, now_ms))
        return QueueState(
            queue=queue,
            messages=messages,
            in_flight=[rows.entry_of(entry) for entry in execute(QUERIES["in_flight"], (queue.shelf, now_ms))],
            delayed=dict(delayed),
            oldest_sent_ms=oldest_sent_ms,
        )

    def commit(self, changes: Sequence[Change], now_ms: int) -> None:
        """Make the changes durable, all or nothing. On return they survive a power cut."""
        if not changes:
            return
        effects = list(net_effects(changes, self._quarantined))

        def work(execute: Execute) -> None:
            for effect in effects:
                if isinstance(effect, NetEffect):
                    _write_messages(execute, effect)
                elif isinstance(effect, QueuePut):
                    _write_queue(execute, effect.queue)
                else:
                    _write_removed_queue(execute, effect, now_ms)

        queues = [effect.queue for effect in effects if isinstance(effect, QueuePut)]
        messages = [effect for effect in effects if isinstance(effect, NetEffect)]
        self._database.write(
            work,
            last_ms=now_ms,
            last_seq=max((effect.last_seq for effect in messages), default=0),
            last_id=max((max(queue.queue_id, queue.shelf) for queue in queues), default=0),
            is_growth=any(effect.added for effect in messages),
        )
        self._follow_queues(effects)

    def _follow_queues(self, effects: Iterable[NetEffect | QueuePut | QueueRemoved]) -> None:
        for effect in effects:
            if isinstance(effect, QueuePut):
                self._shelves[effect.queue.queue_id] = effect.queue.shelf
                self._may_have_abandoned = True
            elif isinstance(effect, QueueRemoved):
                self._shelves.pop(effect.queue_id, None)
                self._may_have_abandoned = True

    def ready(self, shelf: int, after: tuple[int, int], until_ms: int, count: int, size_bytes: int) -> Page:
        """Up to `count` messages with (visible_ms, seq) > `after` and visible_ms <= `until_ms`, in that order."""
        return self._page(shelf, count, size_bytes, QUERIES["ready"], (shelf, *after, until_ms, count + 1))

    def ready_without(
        self, shelf: int, after: tuple[int, int], until_ms: int, limits: tuple[int, int], groups: Sequence[str]
    ) -> tuple[Page, tuple[int, int]]:
        """As `ready`, but without the messages of some groups; and how far it got."""
        count, size_bytes = limits
        with self._database.guarded():
            bound = (shelf, *after, until_ms, _LOOKED_AT - 1)
            further = self._database.execute(QUERIES["place_further_on"], bound).fetchone()
        place = (until_ms, AFTER_ALL) if further is None else (further[0], further[1])
        arguments = (shelf, *after, *place, json.dumps(groups), count + 1)
        page = self._page(shelf, count, size_bytes, QUERIES["ready_without"], arguments)
        if not page.is_last:
            last = page.messages[-1][0]
            return page, (last.visible_ms, last.seq)
        return Page(page.messages, page.damaged, is_last=further is None), place

    def in_order(self, shelf: int, after: tuple[int, int], until: tuple[int, int], count: int, size_bytes: int) -> Page:
        """Up to `count` messages with (sent_ms, seq) > `after`, and a sent_ms or a seq up to `until`, in that order."""
        return self._page(shelf, count, size_bytes, QUERIES["in_order"], (shelf, *after, *until, count + 1))

    def peek(self, shelf: int, after: tuple[int, int], count: int, size_bytes: int) -> Peeked:
        """Up to `count` messages with (sent_ms, seq) > `after`, in that order, whatever state they are in."""
        messages: list[tuple[Entry, Content]] = []
        damaged = 0
        place = after
        if shelf not in self._shelves.values():
            return Peeked(messages, damaged, None)
        with self._database.guarded():
            found = self._database.execute(QUERIES["peek"], (shelf, *after, count + 1))
            for row in found:
                if len(messages) + damaged == count:
                    break
                content_and_size = rows.content_of(row[0], row[8:])
                if content_and_size is None:
                    damaged += 1
                else:
                    content, size = content_and_size
                    size_bytes -= size
                    if messages and size_bytes < 0:
                        break
                    messages.append((rows.entry_of(row[:8]), content))
                place = (row[2], row[0])
            else:
                return Peeked(messages, damaged, None)
            found.close()
        return Peeked(messages, damaged, place)

    def fetch(self, shelf: int, seqs: Sequence[int], size_bytes: int) -> Page:
        """Those of the messages that lie on the shelf, in the order asked for."""
        wanted = json.dumps(seqs)
        return self._page(shelf, len(seqs), size_bytes, QUERIES["fetch"], (wanted, shelf))

    def _page(self, shelf: int, count: int, size_bytes: int, query: str, arguments: rows.Row) -> Page:
        messages: list[tuple[Entry, Content]] = []
        damaged: list[int] = []
        is_last = True
        if shelf not in self._shelves.values():
            return Page(messages, damaged, is_last)
        with self._database.guarded():
            found = self._database.execute(query, arguments)
            for row in found:
                content_and_size = rows.content_of(row[0], row[8:])
                if content_and_size is None:
                    damaged.append(row[0])
                    continue
                content, size = content_and_size
                size_bytes -= size
                if len(messages) == count or (messages and size_bytes < 0):
                    is_last = False
                    break
                messages.append((rows.entry_of(row[:8]), content))
            else:
                is_last = len(messages) + len(damaged) <= count
            found.close()
        if damaged:
            self._quarantine(shelf, damaged)
        return Page(messages, damaged, is_last)

    def _quarantine(self, shelf: int, seqs: list[int]) -> None:
        _log.error("shelf %d: the stored messages %s do not match their checksums and are quarantined", shelf, seqs)

        def work(execute: Execute) -> None:
            _each(execute, "quarantine", [(seq,) for seq in seqs])
            execute(QUERIES["tally"], (shelf, -len(seqs)))
            execute(QUERIES["tally"], (_QUARANTINE, len(seqs)))

        self._database.write(work)
        self._quarantined.update(seqs)

    def find(self, seqs: Sequence[int]) -> list[Entry]:
        """Those of the messages that exist, by rising seq."""
        live = set(self._shelves.values())
        wanted = sorted(set(seqs))
        with self._database.guarded():
            return [
                rows.entry_of(row)
                for width, stretch in stretches(wanted)
                for row in self._database.execute(widened("find", width), stretch)
                if row[1] in live
            ]

    def sent_before(self, shelf: int, before_ms: int, count: int) -> Aged:
        """Up to `count` messages with sent_ms < `before_ms`, oldest first."""
        entries: list[Entry] = []
        if shelf not in self._shelves.values():
            return Aged(entries, None)
        with self._database.guarded():
            for row in self._database.execute(QUERIES["oldest"], (shelf, count + 1)).fetchall():
                entry = rows.entry_of(row)
                if entry.sent_ms >= before_ms or len(entries) == count:
                    return Aged(entries, entry.sent_ms)
                entries.append(entry)
        return Aged(entries, None)

    def tend(self) -> Room:
        """Clear a little of the abandoned shelves, look after the reserve."""
        try:
            if self._may_have_abandoned:
                self._clear_abandoned()
            self._forget()
            return self._database.room()
        except StoreFull:
            return Room(is_full=True, free_bytes=0)

    def _clear_abandoned(self) -> None:
        with self._database.guarded():
            found = self._database.execute(QUERIES["abandoned"]).fetchone()
            if found is None:
                self._may_have_abandoned = False
                return
            (shelf,) = found
            seqs = self._database.execute(QUERIES["abandoned_seqs"], (shelf, _CLEARED_A_TEND)).fetchall()

        def work(execute: Execute) -> None:
            _each(execute, "remove_messages", seqs)
            _each(execute, "remove_entries", seqs)
            execute(QUERIES["tally"], (shelf, -len(seqs)))
            if len(seqs) < _CLEARED_A_TEND:
                execute(QUERIES["forget_shelf"], (shelf,))

        self._database.write(work)

    def _forget(self) -> None:
        """What FIFO queues remembered for five minutes."""
        with self._database.guarded():
            oldest_ms = self._database.execute(QUERIES["oldest_remembered"]).get
        now_ms = self._database.state.last_ms
        if oldest_ms is not None and oldest_ms <= now_ms - _FORGOTTEN_MS:

            def work(execute: Execute) -> None:
                execute(QUERIES["forget_deduplications"], (_FORGOTTEN_A_TEND, now_ms - _DEDUPLICATED_MS))
                execute(QUERIES["forget_attempts"], (now_ms - _ATTEMPTED_MS,))

            self._database.write(work)

    def close(self) -> None:
        """Give the folder up. Nothing committed is lost without it."""
        self._database.close()


def _write_messages(execute: Execute, effect: NetEffect) -> None:
    added = effect.added.items()
    _each(execute, "add_messages", [rows.message_row(seq, content) for seq, (_, content) in added])
    _each(execute, "add_entries", [rows.entry_row(entry) for _, (entry, _) in added])
    _each(execute, "reschedule_entries", [rows.entry_row(entry) for entry in effect.rescheduled.values()])
    _each(execute, "move_entries", [rows.entry_row(entry) for entry in effect.moved.values()])
    removed = [(seq,) for seq in effect.removed]
    _each(execute, "remove_entries", removed)
    _each(execute, "remove_messages", removed)
    _each(execute, "add_deduplications", [rows.deduplication_row(one) for one in effect.deduplicated])
    for attempted in effect.attempts.values():
        execute(QUERIES["put_attempt"], rows.attempt_row(attempted))
    for task_id, task in effect.move_tasks.items():
        if task is None:
            execute(QUERIES["forget_move_task"], (task_id,))
        else:
            execute(QUERIES["put_move_task"], rows.move_task_row(task))
    for shelf, messages in effect.tally.items():
        if messages:
            execute(QUERIES["tally"], (shelf, messages))


def _write_queue(execute: Execute, queue: QueueRecord) -> None:
    execute(QUERIES["put_queue"], rows.queue_row(queue))
    execute(QUERIES["tally"], (queue.shelf, 0))


def _write_removed_queue(execute: Execute, removed: QueueRemoved, now_ms: int) -> None:
    execute(QUERIES["remove_queue"], (removed.queue_id,))
    execute(QUERIES["forget_removed"], (now_ms - _REMEMBERED_MS,))
    execute(QUERIES["remember_removed"], (removed.account, removed.name, removed.removed_ms))


def _each(execute: Execute, name: str, all_rows: Sequence[rows.Row]) -> None:
    """Run the named statement for all rows, in as few steps as the prepared widths allow."""
    for width, stretch in stretches(all_rows):
        execute(widened(name, width), [value for row in stretch for value in row])
