"""A FIFO queue: the messages of a group one after the other, in the order in which they were sent.

A message in flight locks its group. Like SQS itself, the queue looks no further than 120 000 messages ahead for a group
that is free (SQS developer guide, FIFO queue quotas).
"""

from typing import TYPE_CHECKING

from msgspec.structs import replace

from amply.broker.engine.attempts import Attempts
from amply.broker.engine.commands import Sent
from amply.broker.engine.decision import Decision, Delivery, Fetch, ReadInOrder
from amply.broker.engine.deduplication import Deduplication, deduplication_key
from amply.broker.engine.fifo_delays import FifoDelays
from amply.broker.engine.in_flight import InFlight
from amply.broker.engine.line import Line, group_of
from amply.broker.engine.queue import Queue
from amply.broker.engine.records import (
    Added,
    Attempt,
    Attempted,
    Content,
    Deduplicated,
    Entry,
    QueueRecord,
    Removed,
)
from amply.broker.engine.window import START
from amply.broker.sqs import faults
from amply.broker.sqs.faults import Fault, invalid_parameter

if TYPE_CHECKING:
    from amply.broker.engine.commands import Deletion, Outgoing, Receive, Ticket
    from amply.broker.engine.window import WindowSize
    from amply.broker.sqs.receipts import Receipt

_UNBOUNDED = 1 << 62


class FifoQueue(Queue):
    """Groups, their locks, deduplication and receive attempts."""

    is_fifo = True

    def declare(self, record: QueueRecord) -> None:
        """Take over the queue's attributes."""
        super().declare(record)
        if hasattr(self, "delays"):  # not when the queue is new, or was just restored
            self.delays.change(self.delay_s, self.numbers.last)

    def empty(self, window_size: "WindowSize") -> None:
        """Forget every message and deduplication id: the queue is new, or was purged."""
        super().empty(window_size)
        self.line = Line(window_size)
        self.deduplication = Deduplication(self.limits.deduplication_window_s)
        self.attempts = Attempts(self.limits.attempt_window_s)
        self.delays = FifoDelays(self.delay_s)
        for poll in getattr(self, "_replays", {}).values():
            self.parking.park(poll, 0)
        self._replays: dict[Ticket, Receive] = {}  # polls that get the messages of an earlier attempt again

    def restore(self, *, messages: int, in_flight: list[Entry], delayed: dict[int, int], oldest_ms: int | None) -> None:
        """Take up the state found on disk at start."""
        self.messages = messages
        self.in_flight = InFlight(in_flight)
        self.delays = FifoDelays(self.delay_s, delayed)
        self.oldest_ms = oldest_ms
        for entry in in_flight:
            self.line.groups.lock(group_of(entry))

    @property
    def delayed_count(self) -> int:
        """Messages that were never visible yet."""
        return len(self.delays)

    def _unread_count(self) -> int:
        """Messages behind the cursor whose delay has ended."""
        return self.messages - len(self.in_flight) - len(self.line.groups) - len(self.delays)

    # Time

    def pass_time(self, now_ms: int) -> None:
        """Let timeouts and delays end. A changed delay holds for what is delayed still (SQS, DelaySeconds)."""
        for entry in self.in_flight.pop_due(now_ms):
            self._set_free(entry)
        if self.delays.pass_time(now_ms):
            self.line.leave_on_disk()
        self.deduplication.forget(now_ms)
        self.attempts.forget(now_ms)

    def next_delay_ms(self) -> int | None:
        """When the next delay ends."""
        return self.delays.next_ms()

    # Sending

    def check_takes(self, count: int, now_ms: int) -> None:
        """Fault RequestThrottled if that were more messages than the queue can remember."""
        self.deduplication.check_takes(count, now_ms)

    def send(self, messages: "list[Outgoing]", now_ms: int, decision: Decision) -> list[Sent]:
        """Store messages under consecutive numbers, but for those that were sent within the deduplication window."""
        shelf, scope = self.record.shelf, self.attributes["DeduplicationScope"]
        outcome = []
        for seq, message in enumerate(messages, self.numbers.take(len(messages))):
            content = message.content
            key = deduplication_key(content, scope)
            sent = self.deduplication.find(key, now_ms)
            if sent is None:
                sent = Sent(content.message_id, seq)
                self.deduplication.remember(key, sent, now_ms)
                decision.changes.append(Deduplicated(seq, shelf, key, content.message_id, now_ms))
                self._add(Entry(seq, shelf, now_ms, now_ms, group_id=content.group_id), content, decision)
                self.totals.sent += 1
            else:
                self.totals.deduplicated += 1
            outcome.append(sent)
        return outcome

    def take_in(self, entry: Entry, content: Content, source: Queue, now_ms: int, decision: Decision) -> None:
        """A dead letter comes last, and as new, but for its receive count.

        Its message id becomes its deduplication id, so that two of the same content stay two (SQS developer guide).
        """
        decision.changes.append(Removed(entry.seq, entry.shelf))
        seq, received = self.numbers.take(), (entry.receive_count, entry.first_received_ms)
        dead = Entry(seq, self.record.shelf, now_ms, now_ms, *received, source.arn, entry.group_id)
        self._add(dead, replace(content, deduplication_id=content.message_id), decision)

    def add_new(self, content: Content, now_ms: int, decision: Decision) -> None:
        """A moved message comes last, and as new. It is no duplicate, and makes no other one."""
        entry = Entry(self.numbers.take(), self.record.shelf, now_ms, now_ms, group_id=content.group_id)
        self._add(entry, content, decision)
        self.totals.sent += 1

    def _add(self, entry: Entry, content: Content, decision: Decision) -> None:
        decision.changes.append(Added(entry, content))
        if self.delay_s:
            self.delays.add(entry)
        elif self.line.is_reading or self._unread_count() or len(self.delays) or not self._can_look_further():
            self.line.leave_on_disk()
        else:
            self.line.add(entry, content)
        self.came(1, entry.sent_ms)

    # Receiving

    def receive(
        self, poll: "Receive", now_ms: int, dead_letters: Queue | None, decision: Decision
    ) -> list[Delivery] | Fault | None:
        """Answer a receive at once with what is there, or park it and answer None."""
        if self._starts_replay(poll, now_ms, decision):
            return None
        return super().receive(poll, now_ms, dead_letters, decision)

    def first_ready(self) -> tuple[Entry, Content] | None:
        """The oldest message of those that come first in a free group; it stays there."""
        return self.line.first()

    def take(self, poll: "Receive", now_ms: int, dead_letters: Queue | None, decision: Decision) -> list[Delivery]:
        """As many as possible of one group, then of the next."""
        if self._starts_replay(poll, now_ms, decision):
            self.parking.leave(poll.ticket)
            return []
        count = min(poll.count, self.limits.in_flight_max - len(self.in_flight))
        deliveries: list[Delivery] = []
        while len(deliveries) < count and self.has_ready():
            deliveries += self._take_of_one_group(poll, count - len(deliveries), now_ms, dead_letters, decision)
        for delivery in deliveries:
            if delivery.entry.visible_ms <= now_ms:  # only now, so that nobody gets a message twice in one answer
                self._set_free(delivery.entry)
        if poll.attempt_id is not None and deliveries:
            self._remember_attempt(poll.attempt_id, now_ms, [delivery.entry for delivery in deliveries], decision)
        self.read_on(now_ms, decision)
        self.totals.received += len(deliveries)
        return deliveries

    def _take_of_one_group(
        self, poll: "Receive", count: int, now_ms: int, dead_letters: Queue | None, decision: Decision
    ) -> list[Delivery]:
        deliveries: list[Delivery] = []
        visible_ms, line = self.visible_again_ms(poll, now_ms), self.line
        group = line.groups.first()
        while group is not None and len(deliveries) < count and (found := line.pop_head(group)) is not None:
            if delivery := self.hand_out(found, visible_ms, now_ms, dead_letters, decision):
                self.reschedule(delivery.entry, decision)
                line.groups.lock(group)
                if visible_ms > now_ms:
                    self.in_flight.put(delivery.entry)
                deliveries.append(delivery)
        return deliveries

    def hide(self, entry: Entry, now_ms: int, decision: Decision) -> None:
        """Hide the message until the entry's `visible_ms`, or show it if that moment has come."""
        self.reschedule(entry, decision)
        if entry.visible_ms > now_ms:
            self.in_flight.put(entry)
            self.line.groups.lock(group_of(entry))
        else:
            self._come_back(entry)

    def _come_back(self, entry: Entry) -> None:
        if self.delays.is_delayed(entry):  # it was received before the last restart, and the delay became longer since
            self.delays.add(entry)
        else:
            self.line.come_back(entry)

    def _set_free(self, entry: Entry) -> None:
        """A message is visible again, and holds its group no longer. It is in line before others can be taken."""
        self._come_back(entry)
        self.line.groups.unlock(group_of(entry))

    # The same receive again

    def _starts_replay(self, poll: "Receive", now_ms: int, decision: Decision) -> bool:
        """Whether the poll's attempt was answered before; its messages are fetched then."""
        attempt = None if poll.attempt_id is None else self.attempts.valid(poll.attempt_id, self.in_flight, now_ms)
        if attempt is None:
            return False
        self._replays[poll.ticket] = poll
        seqs = [seq for seq, _, _ in attempt.deliveries]
        decision.reads.append(Fetch(self.record.shelf, self.lookups.start(), seqs, _UNBOUNDED, poll.ticket))
        return True

    def _replay(
        self,
        poll: "Receive",
        contents: "dict[int, Content | None]",
        now_ms: int,
        dead_letters: Queue | None,
        decision: Decision,
    ) -> None:
        """Answer with the messages of the attempt, hidden anew, under the same handles."""
        attempt_id = poll.attempt_id or ""
        attempt = self.attempts.valid(attempt_id, self.in_flight, now_ms)
        found = [contents.get(seq) for seq, _, _ in attempt.deliveries] if attempt else []
        if attempt is None or None in found:  # it does not hold any more, or another receive has answered it since
            if attempt is not None and all(seq in contents for seq, _, _ in attempt.deliveries):
                self.attempts.drop(attempt_id)  # a message of it is damaged
            answer = self.receive(poll, now_ms, dead_letters, decision)
            if isinstance(answer, list):
                decision.woken.append((poll.ticket, answer))
            return
        visible_ms = self.visible_again_ms(poll, now_ms)
        deliveries = []
        for (seq, _, _), content in zip(attempt.deliveries, found, strict=True):
            entry = self.take_out(seq, {}, now_ms)
            if entry is not None and content is not None:
                hidden = entry.rescheduled(visible_ms, entry.receive_count, entry.first_received_ms)
                self.hide(hidden, now_ms, decision)
                deliveries.append(Delivery(self.record.queue_id, attempt.received_ms, hidden, content))
        self._remember_attempt(attempt_id, attempt.received_ms, [one.entry for one in deliveries], decision)
        decision.woken.append((poll.ticket, deliveries))

    def _remember_attempt(self, attempt_id: str, received_ms: int, entries: list[Entry], decision: Decision) -> None:
        deliveries = tuple((entry.seq, entry.receive_count, entry.visible_ms) for entry in entries)
        attempt = Attempt(received_ms, deliveries)
        self.attempts.put(attempt_id, attempt)
        decision.changes.append(Attempted(self.record.shelf, attempt_id, attempt))

    def unpark(self, ticket: "Ticket") -> bool:
        """A parked poll's client is gone; False if it was not here."""
        return super().unpark(ticket) or self._replays.pop(ticket, None) is not None

    def unpark_all(self) -> "list[Ticket]":
        """Take every parked poll out, to be answered empty."""
        replays, self._replays = list(self._replays), {}
        return [*super().unpark_all(), *replays]

    # Deleting and changing visibility

    def look_at(self, seq: int, found: "dict[int, Entry | None]") -> Entry | None:
        """The message's entry; it stays where it is."""
        held = self.line.contents.get(seq)
        return self.in_flight.get(seq) or (found.get(seq) if held is None else held[0])

    def visible_ms(self, entry: Entry) -> int:
        """When the message can be received, if its group is free then."""
        return self.delays.visible_ms(entry)

    def is_known(self, seq: int) -> bool:
        """Whether memory knows where the message stands."""
        return seq in self.in_flight or seq in self.line.groups

    def _holds(self, receipt: "Receipt") -> bool:
        """Whether the message is in flight under this very receipt, or claimed by one of its look."""
        entry = self.in_flight.get(receipt.seq)
        if entry is None or entry.is_claimed != receipt.is_peeked:
            return False
        return entry.receive_count == receipt.receive_count

    def _exists(self, seq: int, found: "dict[int, Entry | None]") -> bool:
        return self.is_known(seq) or found.get(seq) is not None

    def delete_one(
        self, deletion: "Deletion", found: "dict[int, Entry | None]", now_ms: int, decision: Decision
    ) -> Fault | None:
        """Only while the receipt's visibility timeout runs; a message that is gone may be deleted again."""
        seq = deletion.receipt.seq
        if self._holds(deletion.receipt):
            self.take_out(seq, found, now_ms)
            self.remove(seq, decision)
        elif self._exists(seq, found):
            return invalid_parameter("ReceiptHandle", deletion.handle, "The receipt handle has expired.")
        self.totals.deleted += 1
        return None

    def out_of_reach(self, receipt: "Receipt", handle: str, found: "dict[int, Entry | None]") -> Fault | None:
        """Only a message in flight under this very receipt can be hidden for longer."""
        if self._holds(receipt) or not self._exists(receipt.seq, found):
            return None
        if receipt.seq in self.in_flight:
            return invalid_parameter("ReceiptHandle", handle, "The receipt handle has expired.")
        return Fault(faults.MESSAGE_NOT_INFLIGHT, "The specified message isn't in flight.")

    def take_out(self, seq: int, found: "dict[int, Entry | None]", now_ms: int) -> Entry | None:  # noqa: ARG002 - what is delayed was settled by `pass_time`
        """Take the message from wherever it is: in flight, in its group, or on disk if it was found there."""
        on_disk = found.pop(seq, None)
        entry = self.in_flight.pop(seq)
        if entry is not None:
            self.line.groups.unlock(group_of(entry))
            return entry
        if seq in self.line.groups:
            return self.line.remove(seq) or on_disk
        if on_disk is not None and self.delays.is_delayed(on_disk):
            self.delays.remove(on_disk)
        return on_disk

    # Reading from disk

    @property
    def is_reading(self) -> bool:
        """Whether messages are on their way from disk."""
        return self.line.is_reading or self.line.is_fetching

    def _can_look_further(self) -> bool:
        return len(self.line.groups) + len(self.in_flight) < self.limits.in_flight_max

    def has_unread(self) -> bool:
        """Whether messages on disk could be received."""
        return self.line.groups.first() is not None or (self._unread_count() > 0 and self._can_look_further())

    def read_on(self, now_ms: int, decision: Decision) -> None:  # noqa: ARG002 - delays ended in `pass_time`
        """Fetch the contents of what comes next, or look further if all groups are locked or contents run low."""
        if self.is_reading:
            return
        line, shelf, size = self.line, self.record.shelf, self.window_size
        is_awaited = self.has_mover or len(self.parking) > 0
        if line.needs_contents():
            seqs = line.start_fetching()
            decision.reads.append(Fetch(shelf, self.lookups.start(), seqs, size.size_bytes, None))
        elif self._unread_count() > 0 and self._can_look_further() and line.wants_more(is_awaited=is_awaited):
            issued, after = self.lookups.start(), line.start_reading()
            ended = self.delays.ended()
            decision.reads.append(ReadInOrder(shelf, issued, after, ended, size.count, size.size_bytes))

    def were_read_in_order(
        self, read: ReadInOrder, messages: list[tuple[Entry, Content]], damaged: list[int], *, is_last: bool
    ) -> None:
        """Take in the next messages from disk. Damaged ones are out of the queue from now on."""

        def is_settled(seq: int) -> bool:
            return self.is_known(seq) or self.lookups.is_outdated(seq, read.issued)

        # The queue may have got a delay since, for what was sent since.
        messages = [message for message in messages if not self.delays.is_delayed(message[0])]
        self.messages -= sum(not is_settled(seq) for seq in damaged)
        has_seen_all = self.line.finish_reading(messages, is_settled, is_last=is_last)
        self.lookups.end()
        if has_seen_all and self._unread_count():
            # The cursor says that nothing is left, the count says otherwise. Read all again; then the count is wrong.
            if read.after == START:
                self.messages -= self._unread_count()
            else:
                self.line.start_again()

    def were_fetched(
        self,
        fetch: Fetch,
        messages: list[tuple[Entry, Content]],
        now_ms: int,
        dead_letters: Queue | None,
        decision: Decision,
        *,
        is_last: bool,
    ) -> None:
        """Take in the contents of messages that wait. One that is not on disk any more was damaged."""
        self.lookups.end()
        if fetch.ticket is not None:
            poll = self._replays.pop(fetch.ticket, None)
            if poll is not None:
                contents = dict.fromkeys(fetch.seqs) | {entry.seq: content for entry, content in messages}
                self._replay(poll, contents, now_ms, dead_letters, decision)
            return
        for seq in self.line.finish_fetching(fetch.seqs, messages, is_last=is_last):
            self.left(seq)
