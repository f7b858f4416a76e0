"""Who looks at queues without receiving, and takes what was seen there."""

from typing import NamedTuple

from facts import Looked
from stage import Stage
from witness import ACCOUNT

from amply.broker.engine.commands import ChangeVisibility, Delete, Deletion, VisibilityChange
from amply.broker.engine.queue import Queue
from amply.broker.engine.records import AFTER_ALL, Content, Entry
from amply.broker.sqs.names import parse_queue_arn
from amply.broker.sqs.receipts import Receipt

LOOKS_KEPT = 60


class Sight(NamedTuple):
    """A message that somebody saw, and the receipt of that look."""

    queue: str
    receipt: Receipt


class Lookers(Stage):
    """`seen` outlives crashes: a tool does not know that the broker was started again."""

    seen: list[Sight]

    def peek(self) -> None:
        """Page by page, as PeekMessages does: behind everything decided so far, past the engine."""
        name = self.key()[1]
        if name not in self.model.queues:
            return
        self.commit()
        queue = self.shell.engine.queues.existing((ACCOUNT, name))
        after = max((0, 0), (self.now_ms - queue.retention_ms, AFTER_ALL))
        told: list[Looked] = []
        while True:
            count, size_bytes = self.random.choice((1, 3, 1000)), self.random.choice((1, 100, 1 << 20))
            page = self.shell.store.peek(queue.record.shelf, after, count, size_bytes)
            assert len(page.messages) <= count
            told += [self._told(queue, entry, content) for entry, content in page.messages]
            if page.read_to is None:
                break
            assert page.messages
            after = page.read_to
        self.model.judge_look(name, told, self.now_ms)
        self.reached["a queue was looked at"] += 1
        some = self.random.sample(told, min(len(told), 10))
        queue_id, now_ms = queue.record.queue_id, self.now_ms
        receipts = [Receipt(queue_id, one.number, one.received, now_ms, is_peeked=True) for one in some]
        self.seen += [Sight(name, receipt) for receipt in receipts]
        del self.seen[:-LOOKS_KEPT]

    def _told(self, queue: Queue, entry: Entry, content: Content) -> Looked:
        visible_ms = queue.visible_ms(entry)
        died_in = entry.dead_letter_source_arn
        return Looked(
            content.message_id,
            entry.seq,
            entry.sent_ms,
            entry.receive_count,
            entry.first_received_ms,
            entry.group_id,
            content.deduplication_id,
            None if died_in is None else parse_queue_arn(died_in)[2],
            visible_ms if visible_ms > self.now_ms else None,
        )

    def some_seen(self) -> list[Sight]:
        """Sights of one queue, fresh and stale, and the same one more than once."""
        seen = [one for one in self.seen if self._is_of_a_queue(one)]
        if not seen:
            return []
        queue = self.random.choice(seen[-20:]).queue
        same_queue = [one for one in seen if one.queue == queue]
        return self.random.choices(same_queue, k=self.random.choice((1, 1, 3, 10)))

    def _is_of_a_queue(self, sight: Sight) -> bool:
        queue = self.shell.engine.queues.get((ACCOUNT, sight.queue))
        return queue is not None and queue.record.queue_id == sight.receipt.queue_id

    def claim(self) -> None:
        if some := self.some_seen():
            timeouts_s = (0, 1, 30, 30, 400, 43_200)
            changes = [VisibilityChange(one.receipt, "handle", self.random.choice(timeouts_s)) for one in some]
            self.run(ChangeVisibility((ACCOUNT, some[0].queue), changes))

    def delete_seen(self) -> None:
        if some := self.some_seen()[:3]:
            self.run(Delete((ACCOUNT, some[0].queue), [Deletion(one.receipt, "handle") for one in some]))
