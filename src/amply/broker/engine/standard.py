"""A standard queue: messages come about in the order in which they became visible, each by itself.

Those with a MessageGroupId belong to tenants. When one tenant keeps the consumers busy, the messages of the others are
given out first (SQS developer guide, "Amazon SQS fair queues").
"""

from typing import TYPE_CHECKING

from amply.broker.engine.commands import Outgoing, Sent
from amply.broker.engine.decision import Decision, Delivery, ReadQuiet, ReadReady
from amply.broker.engine.delayed import Delayed
from amply.broker.engine.in_flight import InFlight
from amply.broker.engine.queue import Queue
from amply.broker.engine.records import AFTER_ALL, Added, Content, Entry, Moved
from amply.broker.engine.tenants import Tenants
from amply.broker.engine.window import START, Cursor, Window
from amply.broker.sqs.faults import OVER_LIMIT, Fault

if TYPE_CHECKING:
    from amply.broker.engine.commands import Deletion, Receive
    from amply.broker.engine.window import WindowSize
    from amply.broker.sqs.receipts import Receipt


class StandardQueue(Queue):
    """The head of its ready messages is in the window, the rest on disk; memory knows all that are in flight."""

    is_fifo = False

    def empty(self, window_size: "WindowSize") -> None:
        """Forget every message: the queue is new, or was purged."""
        super().empty(window_size)
        self.tenants = Tenants()
        self.in_flight = InFlight(tenants=self.tenants)
        self.window = Window(window_size)
        self.delayed = Delayed()
        self._quiet_read: ReadQuiet | None = None  # the last that was asked for

    def restore(self, *, messages: int, in_flight: list[Entry], delayed: dict[int, int], oldest_ms: int | None) -> None:
        """Take up the state found on disk at start."""
        self.messages = messages
        self.in_flight = InFlight(in_flight, self.tenants)
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

    def pass_time(self, now_ms: int) -> None:
        """Let timeouts and delays end."""
        self.tenants.now_ms = now_ms
        for entry in self.in_flight.pop_due(now_ms):
            self.window.leave_on_disk(entry.visible_ms, entry.seq)
        for visible_ms, count in self.delayed.pop_due(now_ms):
            self.window.leave_on_disk(visible_ms, 0, count)

    def next_delay_ms(self) -> int | None:
        """When the next delay ends."""
        return self.delayed.next_ms()

    # Sending

    def check_takes(self, count: int, now_ms: int) -> None:
        """A standard queue takes any number of messages."""

    def send(self, messages: "list[Outgoing]", now_ms: int, decision: Decision) -> list[Sent]:
        """Store messages under consecutive numbers."""
        shelf = self.record.shelf
        sent = []
        for seq, message in enumerate(messages, self.numbers.take(len(messages))):
            content = message.content
            delay_s = self.delay_s if message.delay_s is None else message.delay_s
            visible_ms = self.delayed.add(now_ms, delay_s) if delay_s else now_ms
            entry = Entry(seq, shelf, now_ms, visible_ms, group_id=content.group_id)
            if not delay_s:
                self.window.add(entry, content)
            decision.changes.append(Added(entry, content))
            sent.append(Sent(content.message_id, seq))
        self.came(len(messages), now_ms)
        self.totals.sent += len(messages)
        return sent

    def take_in(self, entry: Entry, content: Content, source: Queue, now_ms: int, decision: Decision) -> None:  # noqa: ARG002 - the content stays where it is
        """A dead letter keeps its number, and the time at which it was first sent; it is ready at once."""
        dead = Entry(
            entry.seq,
            self.record.shelf,
            entry.sent_ms,
            now_ms,
            entry.receive_count,
            entry.first_received_ms,
            source.arn,
            entry.group_id,
        )
        decision.changes.append(Moved(dead, entry.shelf))
        self.lookups.mark_changed(dead.seq)
        self.window.leave_on_disk(dead.visible_ms, dead.seq)
        self.came(1, dead.sent_ms)

    def add_new(self, content: Content, now_ms: int, decision: Decision) -> None:
        """A moved message comes, as new; the queue's delay holds for it."""
        self.send([Outgoing(content)], now_ms, decision)

    # Receiving

    def receive(
        self, poll: "Receive", now_ms: int, dead_letters: Queue | None, decision: Decision
    ) -> list[Delivery] | Fault | None:
        """At SQS's cap on messages in flight a short poll is refused with OverLimit and a long one waits.

        Source: AWS API reference, ReceiveMessage.
        """
        wait_s = self.wait_s if poll.wait_s is None else poll.wait_s
        if wait_s == 0 and not self.has_room_in_flight():
            return Fault(OVER_LIMIT, "Too many messages in flight. Delete some, or wait until they become visible.")
        return super().receive(poll, now_ms, dead_letters, decision)

    def first_ready(self) -> tuple[Entry, Content] | None:
        """The oldest message in the window; it stays there."""
        return self.window.first()

    def take(self, poll: "Receive", now_ms: int, dead_letters: Queue | None, decision: Decision) -> list[Delivery]:
        """Receive up to `poll.count` messages of those in the window."""
        visible_ms = self.visible_again_ms(poll, now_ms)
        count = min(poll.count, self.limits.in_flight_max - len(self.in_flight))
        window = self.window
        if self.tenants.noisy:
            self._sort_tenants()
        deliveries: list[Delivery] = []
        while len(deliveries) < count and len(window):
            held = window.pop_first() if window.has_quiet else self._pop_noisy()
            if delivery := self.hand_out(held, visible_ms, now_ms, dead_letters, decision):
                self.hide(delivery.entry, now_ms, decision)
                deliveries.append(delivery)
        self.read_on(now_ms, decision)
        self.totals.received += len(deliveries)
        return deliveries

    def _sort_tenants(self) -> None:
        """A tenant stays noisy until nothing of it is in flight or at hand."""
        noisy, window = self.tenants.noisy, self.window
        lanes = window.lanes()
        for group in noisy:
            if group not in lanes:
                window.open_lane(group)
        for group in lanes:
            if not window.lane_length(group) and not self.tenants.in_flight(group):
                del noisy[group]
                window.close_lane(group)

    def _pop_noisy(self) -> tuple[Entry, Content]:
        lanes = [group for group in self.window.lanes() if self.window.lane_length(group)]
        return self.window.pop_noisy(self.tenants.quietest(lanes))

    def hide(self, entry: Entry, now_ms: int, decision: Decision) -> None:
        """Hide the message until the entry's `visible_ms`, or show it if that moment has come."""
        self.reschedule(entry, decision)
        if entry.visible_ms > now_ms:
            self.in_flight.put(entry)
        else:
            self.window.leave_on_disk(entry.visible_ms, entry.seq)

    # Deleting and changing visibility

    def look_at(self, seq: int, found: "dict[int, Entry | None]") -> Entry | None:
        """The message's entry; it stays where it is."""
        return self.in_flight.get(seq) or self.window.get(seq) or found.get(seq)

    def visible_ms(self, entry: Entry) -> int:
        """When the message can be received."""
        return entry.visible_ms

    def is_known(self, seq: int) -> bool:
        """Whether memory knows where the message stands."""
        return seq in self.in_flight or seq in self.window

    def delete_one(
        self, deletion: "Deletion", found: "dict[int, Entry | None]", now_ms: int, decision: Decision
    ) -> Fault | None:
        """Any receipt of a message will do, and one of a deleted message too (DeleteMessage)."""
        seq = deletion.receipt.seq
        if self.take_out(seq, found, now_ms):
            self.remove(seq, decision)
        self.totals.deleted += 1
        return None

    def out_of_reach(self, receipt: "Receipt", handle: str, found: "dict[int, Entry | None]") -> Fault | None:  # noqa: ARG002 - any receipt will do
        """Any receipt of a message will do, whether the message is in flight or visible again."""
        return None

    def take_out(self, seq: int, found: "dict[int, Entry | None]", now_ms: int) -> Entry | None:
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

    # Reading from disk

    @property
    def is_reading(self) -> bool:
        """Whether messages are on their way from disk."""
        return self.window.is_reading

    def has_unread(self) -> bool:
        """Whether messages on disk could be received."""
        return self.window.on_disk > 0

    def read_on(self, now_ms: int, decision: Decision) -> None:
        """Ask for messages from disk if the window runs low."""
        window, shelf = self.window, self.record.shelf
        if window.wants_more():
            count, size_bytes = window.start_reading(window.cursor)
            issued, after = self.lookups.start(), window.cursor.place
            decision.reads.append(ReadReady(shelf, issued, after, now_ms, count, size_bytes))
        if window.quiet is not None and window.wants_quiet():
            count, size_bytes = window.start_reading(window.quiet)
            issued, after, without = self.lookups.start(), window.quiet.place, tuple(window.lanes())
            self._quiet_read = ReadQuiet(shelf, issued, after, now_ms, count, size_bytes, without)
            decision.reads.append(self._quiet_read)

    def ready_were_read(
        self, read: ReadReady, messages: list[tuple[Entry, Content]], damaged: list[int], *, is_last: bool
    ) -> None:
        """Take in ready messages from disk. Damaged ones are out of the queue from now on."""
        window = self.window
        read_to = (read.until_ms, AFTER_ALL) if is_last else None
        has_seen_all = self._take_from_disk(read, window.cursor, messages, damaged, read_to)
        if has_seen_all and window.on_disk:
            # The cursor says that nothing is left, the count says otherwise. Read all again; then the count is wrong.
            if read.after == START:
                self.messages -= window.on_disk
                window.on_disk = 0
            else:
                window.start_again()

    def quiet_were_read(
        self,
        read: ReadQuiet,
        messages: list[tuple[Entry, Content]],
        damaged: list[int],
        read_to: tuple[int, int],
        *,
        is_last: bool,
    ) -> None:
        """Take in what was found of quiet tenants up to a place."""
        window = self.window
        cursor = window.quiet
        if cursor is None or not cursor.is_reading or read is not self._quiet_read:
            # Whoever was noisy when it left is no more, and there may be no room: the other cursor comes to all of it.
            cursor, messages = Cursor(read.after), []
        has_seen_all = self._take_from_disk(read, cursor, messages, damaged, read_to)
        if has_seen_all and is_last and cursor is window.quiet:
            window.quiet = None

    def _take_from_disk(
        self,
        read: ReadReady | ReadQuiet,
        cursor: Cursor,
        messages: list[tuple[Entry, Content]],
        damaged: list[int],
        read_to: tuple[int, int] | None,
    ) -> bool:
        window = self.window

        def is_known(seq: int) -> bool:
            return seq in self.in_flight or self.lookups.is_outdated(seq, read.issued)

        has_seen_all = window.finish_reading(cursor, messages, is_known, read_to)
        lost = sum(not is_known(seq) and seq not in window for seq in damaged)
        window.on_disk -= lost
        self.messages -= lost
        self.lookups.end()
        return has_seen_all
