"""A standard queue: where its messages stand, and every transition between these states.

A message is ready (in the window or on disk), in flight, or delayed. Timeouts need no write: what is stored is the
moment at which a message becomes visible (SQS developer guide, visibility timeout and delay queues).
"""

from typing import TYPE_CHECKING

from amply.broker.engine.decision import Decision, Delivery, Find, ReadAged, ReadReady
from amply.broker.engine.delayed import Delayed
from amply.broker.engine.in_flight import InFlight
from amply.broker.engine.lookups import Lookups
from amply.broker.engine.parking import Parking
from amply.broker.engine.records import Added, Content, Entry, Moved, QueueRecord, Removed, Rescheduled
from amply.broker.engine.totals import Totals
from amply.broker.engine.window import START, Window, WindowSize
from amply.broker.sqs.attributes import redrive_policy, with_defaults
from amply.broker.sqs.faults import OVER_LIMIT, Fault, invalid_parameter
from amply.broker.sqs.limits import Limits

if TYPE_CHECKING:
    from amply.broker.engine.commands import (
        ChangeVisibility,
        Delete,
        GiveBack,
        Outgoing,
        Receive,
        VisibilityChange,
    )
    from amply.broker.sqs.attributes import RedrivePolicy
    from amply.broker.sqs.receipts import Receipt

AGED_AT_ONCE = 500


class StandardQueue:
    """One queue's state. `record` says how it is declared."""

    def __init__(self, record: QueueRecord, arn: str, limits: Limits, window_size: WindowSize) -> None:
        self.arn = arn
        self.limits = limits
        self.totals = Totals()
        self.parking = Parking()
        self.declare(record)
        self.empty(window_size)

    def declare(self, record: QueueRecord) -> None:
        """Take over the queue's attributes; they hold from the next command on."""
        self.record = record
        self.key = (record.account, record.name)
        self.attributes = attributes = with_defaults(record.attributes, is_fifo=False)
        self.visibility_timeout_s = int(attributes["VisibilityTimeout"])
        self.retention_ms = int(attributes["MessageRetentionPeriod"]) * 1000
        self.delay_s = int(attributes["DelaySeconds"])
        self.wait_s = int(attributes["ReceiveMessageWaitTimeSeconds"])
        self.maximum_message_size_bytes = int(attributes["MaximumMessageSize"])
        policy = attributes.get("RedrivePolicy")
        self.redrive: RedrivePolicy | None = redrive_policy(policy) if policy else None

    def empty(self, window_size: WindowSize) -> None:
        """Forget every message: the queue is new, or was purged."""
        self.messages = 0
        self.window = Window(window_size)
        self.in_flight = InFlight()
        self.delayed = Delayed()
        self.lookups = Lookups()
        self.oldest_ms: int | None = None  # nothing in the queue was sent before
        self._is_ageing = False

    def restore(self, *, messages: int, in_flight: list[Entry], delayed: dict[int, int], oldest_ms: int | None) -> None:
        """Take up the state found on disk at start."""
        self.messages = messages
        self.in_flight = InFlight(in_flight)
        self.delayed = Delayed(delayed)
        self.oldest_ms = oldest_ms
        self.window.on_disk = messages - len(self.in_flight) - len(self.delayed)

    @property
    def ready_count(self) -> int:
        """Messages that a receive could get now."""
        return len(self.window) + self.window.on_disk

    @property
    def delayed_count(self) -> int:
        """Messages that were never visible yet."""
        return self.messages - self.ready_count - len(self.in_flight)

    # Time

    def advance(self, now_ms: int, decision: Decision) -> None:
        """Let happen what is due: timeouts and delays end, messages reach their retention."""
        for entry in self.in_flight.pop_due(now_ms):
            self.window.leave_on_disk(entry.visible_ms, entry.seq)
        for visible_ms, count in self.delayed.pop_due(now_ms):
            self.window.leave_on_disk(visible_ms, 0, count)
        if self.oldest_ms is not None and self.oldest_ms + self.retention_ms <= now_ms:
            self._look_for_aged(now_ms, decision)

    def next_ms(self) -> int | None:
        """When `advance` and `serve` are needed even if no command comes."""
        aged_ms = None if self.oldest_ms is None or self._is_ageing else self.oldest_ms + self.retention_ms
        if not len(self.parking):
            return aged_ms
        moments = [aged_ms, self.in_flight.next_ms(), self.delayed.next_ms()]
        if not self.window.is_reading:  # a read that comes back answers polls, and ends those whose time is up
            moments.append(self.parking.next_deadline_ms())
        return min((moment for moment in moments if moment is not None), default=None)

    # Sending

    def send(self, first_seq: int, messages: "list[Outgoing]", now_ms: int, decision: Decision) -> None:
        """Store messages under consecutive numbers."""
        shelf = self.record.shelf
        for seq, message in enumerate(messages, first_seq):
            delay_s = self.delay_s if message.delay_s is None else message.delay_s
            if delay_s:
                entry = Entry(seq, shelf, now_ms, self.delayed.add(now_ms, delay_s))
            else:
                entry = Entry(seq, shelf, now_ms, now_ms)
                self.window.add(entry, message.content)
            decision.changes.append(Added(entry, message.content))
        self._came(len(messages), now_ms)
        self.totals.sent += len(messages)

    def take_in(self, entry: Entry, from_shelf: int, decision: Decision) -> None:
        """A message moved here from another queue; it is ready at once."""
        decision.changes.append(Moved(entry, from_shelf))
        self.lookups.mark_changed(entry.seq)
        self.window.leave_on_disk(entry.visible_ms, entry.seq)
        self._came(1, entry.sent_ms)

    def _came(self, count: int, sent_ms: int) -> None:
        self.messages += count
        if self.oldest_ms is None or sent_ms < self.oldest_ms:
            self.oldest_ms = sent_ms

    # Receiving

    def receive(
        self, poll: "Receive", now_ms: int, dead_letters: "StandardQueue | None", decision: Decision
    ) -> list[Delivery] | Fault | None:
        """Answer a receive at once with what is there, or park it and answer None.

        At SQS's cap on messages in flight a short poll is refused with OverLimit and a long one waits (AWS API
        reference, ReceiveMessage).
        """
        wait_s = self.wait_s if poll.wait_s is None else poll.wait_s
        if wait_s == 0 and not self._has_room_in_flight():
            return Fault(OVER_LIMIT, "Too many messages in flight. Delete some, or wait until they become visible.")
        if deliveries := self._take(poll, now_ms, dead_letters, decision):
            return deliveries
        if wait_s == 0 and not self.window.on_disk:
            self.totals.empty_receives += 1
            return []
        self.parking.park(poll, now_ms + wait_s * 1000)
        return None

    def serve(self, now_ms: int, dead_letters: "StandardQueue | None", decision: Decision) -> None:
        """Answer the parked polls that can be answered, or whose time is up."""
        parking, window = self.parking, self.window
        while len(parking) and len(window) and self._has_room_in_flight():
            poll = parking.first()
            if deliveries := self._take(poll, now_ms, dead_letters, decision):
                parking.leave(poll.ticket)
                decision.woken.append((poll.ticket, deliveries))
        if not len(parking):
            return
        if self._has_room_in_flight():
            if window.wants_more():
                self._read_on(now_ms, decision)
            if window.is_reading:
                return  # even a poll whose time is up waits for that: there may be messages for it
        for ticket in parking.pop_due(now_ms):
            self.totals.empty_receives += 1
            decision.woken.append((ticket, []))

    def _has_room_in_flight(self) -> bool:
        return len(self.in_flight) < self.limits.in_flight_max

    def _take(
        self, poll: "Receive", now_ms: int, dead_letters: "StandardQueue | None", decision: Decision
    ) -> list[Delivery]:
        """Receive up to `poll.count` messages of those in the window.

        Messages past their retention are removed on the way, and those received too often go to `dead_letters`.
        """
        timeout_s = self.visibility_timeout_s if poll.visibility_timeout_s is None else poll.visibility_timeout_s
        visible_ms = now_ms + timeout_s * 1000
        expired_ms = now_ms - self.retention_ms
        count = min(poll.count, self.limits.in_flight_max - len(self.in_flight))
        redrive, window = self.redrive, self.window
        deliveries: list[Delivery] = []
        while len(deliveries) < count and len(window):
            entry, content = window.pop_first()
            if entry.sent_ms <= expired_ms:
                self._remove(entry.seq, decision)
                self.totals.expired += 1
            elif redrive and dead_letters and entry.receive_count >= redrive.max_receive_count:
                self._move_to(dead_letters, entry, now_ms, decision)
            else:
                first_ms = now_ms if entry.first_received_ms is None else entry.first_received_ms
                received = entry.rescheduled(visible_ms, entry.receive_count + 1, first_ms)
                self._hide(received, now_ms, decision)
                deliveries.append(Delivery(self.record.queue_id, now_ms, received, content))
        if window.wants_more():
            self._read_on(now_ms, decision)
        self.totals.received += len(deliveries)
        return deliveries

    def _move_to(self, dead_letters: "StandardQueue", entry: Entry, now_ms: int, decision: Decision) -> None:
        dead = Entry(
            entry.seq,
            dead_letters.record.shelf,
            entry.sent_ms,
            now_ms,
            entry.receive_count,
            entry.first_received_ms,
            self.arn,
        )
        dead_letters.take_in(dead, entry.shelf, decision)
        if dead_letters.key not in decision.moved_to:
            decision.moved_to.append(dead_letters.key)
        self._left(entry.seq)
        self.totals.dead_lettered += 1

    def give_back(self, command: "GiveBack", now_ms: int, decision: Decision) -> None:
        """Undo receives, but for messages that were deleted, changed or received again in the meantime."""
        for entry in command.entries:
            if self.in_flight.get(entry.seq) is not entry:
                continue
            self.in_flight.pop(entry.seq)
            count = entry.receive_count - 1
            self._hide(entry.rescheduled(now_ms, count, entry.first_received_ms if count else None), now_ms, decision)
            self.totals.received -= 1

    def _hide(self, entry: Entry, now_ms: int, decision: Decision) -> None:
        """The entry's `visible_ms` is new: hide the message until then, or show it if that moment has come."""
        decision.changes.append(Rescheduled(entry))
        self.lookups.mark_changed(entry.seq)
        if entry.visible_ms > now_ms:
            self.in_flight.put(entry)
        else:
            self.window.leave_on_disk(entry.visible_ms, entry.seq)

    # Deleting and changing visibility

    def unknown(self, seqs: list[int]) -> list[int]:
        """Those that memory knows nothing of: long deleted, or ready on disk."""
        return [seq for seq in seqs if seq not in self.in_flight and seq not in self.window]

    def find(self, seqs: list[int], then: "Delete | ChangeVisibility", decision: Decision) -> None:
        """Look messages up on disk, to carry on with the command after that."""
        decision.reads.append(Find(self.record.shelf, self.lookups.start(), seqs, then))

    def were_found(self, find: Find, entries: list[Entry]) -> "dict[int, Entry | None]":
        """What a look-up found, by seq, None for what does not exist. What changed meanwhile is left out."""
        exists = {entry.seq: entry for entry in entries if entry.shelf == find.shelf}
        found = {seq: exists.get(seq) for seq in find.seqs if not self.lookups.is_outdated(seq, find.issued)}
        self.lookups.end()
        return found

    def delete(
        self, receipts: "list[Receipt]", found: "dict[int, Entry | None]", now_ms: int, decision: Decision
    ) -> None:
        """Delete by receipt: any receipt of a message will do, and one of a deleted message too (DeleteMessage)."""
        for receipt in receipts:
            if self._take_out(receipt.seq, found, now_ms):
                self._remove(receipt.seq, decision)
            self.totals.deleted += 1

    def change_visibility(
        self, change: "VisibilityChange", found: "dict[int, Entry | None]", now_ms: int, decision: Decision
    ) -> Fault | None:
        """Hide the message for `timeout_s` from now on, or show it at once with 0 (ChangeMessageVisibility)."""
        visible_ms = now_ms + change.timeout_s * 1000
        timeout_s_max = self.limits.visibility_timeout_s_max
        if visible_ms > change.receipt.received_ms + timeout_s_max * 1000:
            return invalid_parameter(
                "VisibilityTimeout",
                change.timeout_s,
                f"Total VisibilityTimeout for the message is beyond the limit [{timeout_s_max} seconds]",
            )
        entry = self._take_out(change.receipt.seq, found, now_ms)
        if entry is None:
            return invalid_parameter(
                "ReceiptHandle",
                change.handle,
                "Message does not exist or is not available for visibility timeout change.",
            )
        changed = entry.rescheduled(visible_ms, entry.receive_count, entry.first_received_ms)
        self._hide(changed, now_ms, decision)
        found[changed.seq] = changed  # the same message may come again in this command
        return None

    def _take_out(self, seq: int, found: "dict[int, Entry | None]", now_ms: int) -> Entry | None:
        """Take the message from wherever it is: in flight, in the window, or on disk if it was found there."""
        on_disk = found.pop(seq, None)
        entry = self.in_flight.pop(seq) or self.window.pop(seq)
        if entry is not None or on_disk is None:
            return entry
        if on_disk.visible_ms <= now_ms:
            self.window.on_disk -= 1
        else:
            self.delayed.remove(on_disk.visible_ms)
        return on_disk

    def _remove(self, seq: int, decision: Decision) -> None:
        decision.changes.append(Removed(seq, self.record.shelf))
        self._left(seq)

    def _left(self, seq: int) -> None:
        self.lookups.mark_changed(seq)
        self.messages -= 1
        if self.messages == 0:
            self.oldest_ms = None

    # Reading from disk

    def _read_on(self, now_ms: int, decision: Decision) -> None:
        count, size_bytes = self.window.start_reading()
        shelf, issued, after = self.record.shelf, self.lookups.start(), self.window.cursor
        decision.reads.append(ReadReady(shelf, issued, after, now_ms, count, size_bytes))

    def ready_were_read(
        self, read: ReadReady, messages: list[tuple[Entry, Content]], damaged: list[int], *, is_last: bool
    ) -> None:
        """Take in ready messages from disk. Damaged ones are out of the queue from now on."""
        window = self.window

        def is_known(seq: int) -> bool:
            return seq in self.in_flight or self.lookups.is_outdated(seq, read.issued)

        has_seen_all = window.finish_reading(messages, is_known, read.until_ms if is_last else None)
        lost = sum(not is_known(seq) and seq not in window for seq in damaged)
        window.on_disk -= lost
        self.messages -= lost
        self.lookups.end()
        if has_seen_all and window.on_disk:
            # The cursor says that nothing is left, the count says otherwise. Read all again; then the count is wrong.
            if read.after == START:
                self.messages -= window.on_disk
                window.on_disk = 0
            else:
                window.start_again()

    # Retention

    def _look_for_aged(self, now_ms: int, decision: Decision) -> None:
        if not self._is_ageing:
            self._is_ageing = True
            self.oldest_ms = None  # until the look-up is back, what comes in is the oldest known
            before_ms = now_ms - self.retention_ms + 1
            decision.reads.append(ReadAged(self.record.shelf, self.lookups.start(), before_ms, AGED_AT_ONCE))

    def aged_were_read(
        self, read: ReadAged, entries: list[Entry], next_oldest_ms: int | None, now_ms: int, decision: Decision
    ) -> None:
        """Remove messages past their retention, whatever their state (SetQueueAttributes, MessageRetentionPeriod)."""
        self._is_ageing = False
        still_here = [moment for moment in (next_oldest_ms, self.oldest_ms) if moment is not None]
        for entry in entries:
            seq = entry.seq
            if seq in self.in_flight or seq in self.window:
                found: dict[int, Entry | None] = {}
            elif self.lookups.is_outdated(seq, read.issued):
                still_here.append(entry.sent_ms)  # gone, or ready again on disk: the next look will tell
                continue
            else:
                found = {seq: entry}
            self._take_out(seq, found, now_ms)
            self._remove(seq, decision)
            self.totals.expired += 1
        self.lookups.end()
        if self.messages:
            self.oldest_ms = min(still_here, default=now_ms)
